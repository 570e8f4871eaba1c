"""What one block of the 14B model holds beside its input, plain and stored in fp8: the promises of docs/memory.md."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from wan_director.benchmarks.peak_memory import peak_bytes
from wan_director.dit.block import Block
from wan_director.dit.context import Context
from wan_director.dit.execution import Execution, lean_ways
from wan_director.dit.presets import PRESETS
from wan_director.weights import layers
from wan_director.weights.fp8 import FP8
from wan_director.weights.stored import StoredWeight

GIB = 2**30


MOST = {
    "usual": {"480x832x81": 1.26, "720x1280x81": 2.89},
    "lean": {"480x832x81": 0.73, "720x1280x81": 1.65},
    "leanest": {"480x832x81": 0.45, "720x1280x81": 1.0},
}
TOKENS = {"480x832x81": 32_760, "720x1280x81": 75_600}


@pytest.mark.parametrize("preset", ["t2v-14B", "i2v-14B"])
@pytest.mark.parametrize("size", TOKENS)
@pytest.mark.parametrize("is_stored", [False, True], ids=["bf16", "fp8"])
@pytest.mark.parametrize("way", MOST)
def test_peak_of_a_block(preset, size, is_stored, way):
    """The matrix that is dequantised for one multiplication is counted, beside what a plain one takes."""
    config, tokens = PRESETS[preset], TOKENS[size]
    made = config.dim**2 * 2 / GIB if is_stored else 0
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
    lean = lean_ways(config.heads)[list(MOST).index(way)]
    execution = Execution(may_overwrite=True, lean=lean)
    assert peak_bytes(lambda: block(x, context, execution)) <= (MOST[way][size] + made) * GIB
