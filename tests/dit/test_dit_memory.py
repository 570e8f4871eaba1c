"""How much one block of the 14B model holds beside its input, counted exactly on the meta device."""

from __future__ import annotations

import pytest
import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from wan_director.dit.block import Block
from wan_director.dit.context import Avoided, Context
from wan_director.dit.execution import Execution
from wan_director.dit.presets import PRESETS


class LiveBytes(TorchDispatchMode):
    """Peak bytes of all live tensors that were made under this mode; `known` tensors and their views do not count."""

    def __init__(self, known: list[torch.Tensor]) -> None:
        super().__init__()
        self.known = {tensor.untyped_storage()._cdata for tensor in known}
        self.live: dict[int, tuple[StorageWeakRef, int]] = {}
        self.peak_bytes = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            storage = tensor.untyped_storage() if isinstance(tensor, torch.Tensor) else None
            if storage is not None and storage._cdata not in self.known:
                self.live[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())
        self.live = {key: entry for key, entry in self.live.items() if not entry[0].expired()}
        self.peak_bytes = max(self.peak_bytes, sum(size for _, size in self.live.values()))
        return result


def fused_attention(q, k, v):
    """What a fused kernel holds: its output."""
    return torch.empty_like(q)


@pytest.mark.parametrize("is_led_away", [False, True])
@pytest.mark.parametrize(
    ("preset", "length", "fp32_residual", "timesteps"),
    [
        ("t2v-14B", 32_760, False, 1),
        ("i2v-14B", 32_760, True, 1),
        ("i2v-14B", 75_600, False, 1),
        ("ti2v-5B", 27_280, False, 31),  # one for each latent frame
    ],
)
def test_a_block_holds_four_token_buffers(preset, length, fp32_residual, timesteps, is_led_away):
    config = PRESETS[preset]
    with torch.device("meta"):
        block = Block(config, torch.nn).to(torch.bfloat16)
        context = Context(
            modulation=torch.empty(1, timesteps, 6, config.dim),
            rope=torch.empty(1, length, 1, config.head_dim // 2, dtype=torch.complex64),
            text=torch.empty(1, 512, config.dim, dtype=torch.bfloat16),
            image=None if not config.image_tokens else torch.empty(1, 257, config.dim, dtype=torch.bfloat16),
        )
        other = torch.empty(1, 512, config.dim, dtype=torch.bfloat16)
        if is_led_away:
            context = context._replace(avoided=Avoided(other, 11.0, 0.25, 2.5))
        x = torch.empty(1, length, config.dim, dtype=torch.float32 if fp32_residual else torch.bfloat16)
    known = [x, other, *block.parameters(), *(each for each in context if isinstance(each, torch.Tensor))]
    with torch.no_grad(), LiveBytes(known) as counter:
        block(x, context, Execution(attention=fused_attention, may_overwrite=True))
    token_buffer_bytes = length * config.dim * 2
    assert counter.peak_bytes <= 4.1 * token_buffer_bytes
