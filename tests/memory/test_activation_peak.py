"""What one block of the 14B model holds beside its input, plain and stored in fp8: the promises of docs/memory.md."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from wan_director.benchmarks.peak_memory import peak_bytes
from wan_director.dit.block import Block
from wan_director.dit.context import Context
from wan_director.dit.execution import Execution
from wan_director.dit.presets import PRESETS
from wan_director.weights import layers
from wan_director.weights.fp8 import FP8
from wan_director.weights.stored import StoredWeight

GIB = 2**30


@pytest.mark.parametrize("preset", ["t2v-14B", "i2v-14B"])
@pytest.mark.parametrize(("tokens", "most"), [(32_760, 1.45), (75_600, 3.1)], ids=["480x832x81", "720x1280x81"])
@pytest.mark.parametrize("is_stored", [False, True], ids=["bf16", "fp8"])
def test_peak_of_a_block(preset, tokens, most, is_stored):
    """The matrix that is dequantised for one multiplication is counted."""
    config = PRESETS[preset]
    with torch.device("meta"):
        block = Block(config, layers if is_stored else nn).to(torch.bfloat16).requires_grad_(False)
        for layer in block.modules() if is_stored else ():
            if isinstance(layer, layers.Linear):
                parts = {"weight": layer.weight.to(torch.float8_e4m3fn), "scale": torch.ones(())}
                layer.store(StoredWeight(FP8, parts, tuple(layer.weight.shape)))
        context = Context(
            modulation=torch.empty(1, 1, 6, config.dim),
            rope=torch.empty(1, tokens, 1, config.head_dim // 2, dtype=torch.complex64),
            text=torch.empty(1, config.text_tokens, config.dim, dtype=torch.bfloat16),
            image=None if not config.image_tokens else torch.empty(1, 257, config.dim, dtype=torch.bfloat16),
        )
        x = torch.empty(1, tokens, config.dim, dtype=torch.bfloat16)
    assert peak_bytes(lambda: block(x, context, Execution(may_overwrite=True))) <= most * GIB
