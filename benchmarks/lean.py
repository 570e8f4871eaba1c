"""What the lean ways of a block save and cost beside the usual one: bytes counted, process time, and the results.

    python -m wan_director.benchmarks.lean [PRESET] [TOKENS] [REPEATS]

Bytes of a 14B block beside its input, on the meta device, for plain and for fp8 matrices. Time of one block of PRESET
on the CPU, each way in turn, one thread; the ratio is that of the medians.
"""

from __future__ import annotations

import sys

import torch
from torch import Tensor, nn
from wan_director.dit.block import Block
from wan_director.dit.context import Context
from wan_director.dit.execution import Execution, lean_ways
from wan_director.dit.presets import PRESETS
from wan_director.weights import layers
from wan_director.weights.fp8 import FP8
from wan_director.weights.stored import StoredWeight

from .peak_memory import peak_bytes
from .report import GIB, describe_machine, describe_versions, load_average, today
from .timing import time_in_turn

WAYS = ("usual", "lean", "leanest")
SIZES = {"480x832, 81 frames": 32_760, "720x1280, 81 frames": 75_600}


def block_of(preset: str, is_stored: bool = False) -> Block:
    """A block in bf16 on the device of this moment."""
    block = Block(PRESETS[preset], layers if is_stored else nn).to(torch.bfloat16).requires_grad_(False)
    for layer in block.modules() if is_stored else ():
        if isinstance(layer, layers.Linear):
            parts = {"weight": layer.weight.to(torch.float8_e4m3fn), "scale": torch.ones(())}
            layer.store(StoredWeight(FP8, parts, tuple(layer.weight.shape)))
    return block


def context_of(preset: str, tokens: int) -> Context:
    """Random, of one timestep and 512 tokens of text."""
    config = PRESETS[preset]
    turns = torch.polar(torch.ones(1, tokens, 1, config.head_dim // 2), torch.rand(1, tokens, 1, config.head_dim // 2))
    text = torch.randn(1, config.text_tokens, config.dim).to(torch.bfloat16)
    return Context(torch.randn(1, 1, 6, config.dim) * 0.1, turns, text, None)


def peak(preset: str, tokens: int, way: int, is_stored: bool) -> int:
    """Bytes that a block holds beside its input."""
    with torch.device("meta"):
        block, context = block_of(preset, is_stored), context_of(preset, tokens)
        x = torch.empty(1, tokens, PRESETS[preset].dim, dtype=torch.bfloat16)
    execution = Execution(may_overwrite=True, lean=lean_ways(PRESETS[preset].heads)[way])
    return peak_bytes(lambda: block(x, context, execution))


@torch.no_grad()
def main(preset: str = "t2v-1.3B", tokens: int = 8190, repeats: int = 5) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    before = load_average()
    print(f"{today()}, {describe_machine()}, {describe_versions()}\n")
    print("| 14B, beside the input | stored as | " + " | ".join(WAYS) + " |\n|---|---|" + "---|" * len(WAYS))
    for size, length in SIZES.items():
        for is_stored in (False, True):
            cells = (f"{peak('t2v-14B', length, way, is_stored) / GIB:.3f} GiB" for way in range(len(WAYS)))
            print(f"| {size} | {'fp8' if is_stored else 'bf16'} | {' | '.join(cells)} |")
    block, context, ways = block_of(preset), context_of(preset, tokens), lean_ways(PRESETS[preset].heads)
    x = torch.randn(1, tokens, PRESETS[preset].dim).to(torch.bfloat16)

    def run(way: int) -> Tensor:
        return block(x.clone(), context, Execution(may_overwrite=True, lean=ways[way]))

    print(f"\n| {preset}, {tokens:,} tokens | time beside the usual | result |\n|---|---|---|")
    usual = run(0)
    for way in range(1, len(WAYS)):
        ratio = 1 / time_in_turn(lambda way=way: run(way), lambda: run(0), repeats).speedup
        found = run(way)
        same = "the same bits" if torch.equal(found, usual) else f"{float((found - usual).abs().max()):.1e} away"
        print(f"| {WAYS[way]} | {ratio:.3f} | {same} |")
    print(f"\nLoad {before:.1f} before, {load_average():.1f} after.")


if __name__ == "__main__":
    given = sys.argv[1:]
    main(*given[:1], *(int(each) for each in given[1:3]))
