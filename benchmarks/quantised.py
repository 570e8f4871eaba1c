"""What quantised matrices and LoRAs cost beside a plain bf16 model, in blocks as wide as those of the 1.3B models.

    python -m wan_director.benchmarks.quantised [--repeats N] [--blocks N] [--threads N] [--tokens N ...]

The blocks of a pass alone are timed, in process CPU-seconds, each row in turn with plain bf16; figures are ratios of
the medians. Matrices are made plain for every use, or once and kept (see `memory.plain_matrices`). LoRAs of rank 64
change the matrices of attention, or those and the feed-forward layers.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor
from wan_director.dit.adapters import Adapter, AppliedAdapter, Change, LowRank, adapted
from wan_director.dit.execution import Execution
from wan_director.dit.inputs import DitInputs
from wan_director.dit.model import Embedded, WanDiT
from wan_director.dit.presets import PRESETS
from wan_director.memory.policy import RESIDENT, MemoryPolicy, Resident
from wan_director.memory.slabs import Slabs
from wan_director.weights import layers
from wan_director.weights.casting import CASTINGS, cast_matrix, is_cast
from wan_director.weights.ggml_types import BLOCK_TYPES
from wan_director.weights.gguf import CODECS
from wan_director.weights.gguf_blocks import SCALES
from wan_director.weights.stored import StoredWeight

from .timing import time_in_turn

FORMATS = ("Q8_0", "Q4_K", "Q5_0", "fp8_scaled", "fp8_e4m3fn")
TOKENS = (256, 1000, 2000)
LORA_TOKENS = 2000
RANK = 64
SMALL = 2e-5  # scale of a block of random codes, so that results stay finite

Store = Callable[[Tensor], StoredWeight]


def make_model(blocks: int, store: Store | None = None) -> WanDiT:
    """Blocks of random weights in bf16, their matrices stored by `store` if there is one."""
    torch.manual_seed(0)
    model = WanDiT(replace(PRESETS["t2v-1.3B"], layers=blocks), layers)
    model = model.to(torch.bfloat16).eval().requires_grad_(False)
    for name, layer in model.named_modules():
        if store is not None and isinstance(layer, layers.Linear) and is_cast(f"{name}.weight"):
            layer.store(store(layer.weight))
    return model


def store_as(kind: str) -> Store:
    """What makes a stored weight of the shape of a plain one; of GGUF types it has random codes."""
    if kind in CASTINGS:
        return lambda weight: cast_matrix(weight, CASTINGS[kind])

    def random_blocks(weight: Tensor) -> StoredWeight:
        rows, columns = weight.shape
        block = BLOCK_TYPES[kind]
        data = torch.randint(0, 256, (rows, columns // block.elements, block.size_bytes), dtype=torch.uint8)
        start, size = SCALES[kind]
        data[..., start : start + size] = torch.full((size // 2,), SMALL, dtype=torch.float16).view(torch.uint8)
        return StoredWeight(CODECS[kind], {"weight": data.flatten(1)}, (rows, columns))

    return random_blocks


def embed(model: WanDiT, tokens: int) -> Embedded:
    """A clip of so many tokens, a multiple of 8, in frames of 8 columns."""
    rows = math.gcd(tokens // 8, 16)
    config = model.config
    latent = torch.randn(1, config.in_channels, tokens // (8 * rows), 2 * rows, 16)
    text = torch.randn(1, config.text_tokens, config.text_dim, dtype=torch.bfloat16)
    return model.embed(DitInputs(latent, torch.tensor([500.0]), text))


def run_of(stack: ExitStack, model: WanDiT, policy: MemoryPolicy, tokens: int) -> Callable[[], object]:
    """The blocks of a pass, under a policy that holds until `stack` ends."""
    stream = stack.enter_context(policy.streaming(model.streamed_blocks, torch.device("cpu"), Slabs()))
    execution, embedded = Execution(may_overwrite=True, stream=stream), embed(model, tokens)
    return lambda: model.trunk([embedded._replace(tokens=embedded.tokens.clone())], execution)


def quantised_ratios(tokens: int, blocks: int, repeats: int) -> dict[str, float]:
    """Time of each format as a multiple of that of plain bf16."""
    with ExitStack() as stack:
        plain, runs = run_of(stack, make_model(blocks), RESIDENT, tokens), {}
        for kind in FORMATS:
            store = store_as(kind)
            runs[kind] = run_of(stack, make_model(blocks, store), RESIDENT, tokens)
            runs[f"{kind}, kept"] = run_of(stack, make_model(blocks, store), Resident(blocks), tokens)
        return {name: 1 / time_in_turn(run, plain, repeats).speedup for name, run in runs.items()}


def lora_of(model: WanDiT, part: str) -> Adapter:
    """A LoRA on the matrices of the blocks whose name has `part` in it."""
    changes = {}
    for name, layer in model.named_modules():
        if name.startswith("blocks.") and part in name and isinstance(layer, layers.Linear):
            down = torch.randn(RANK, layer.in_features, dtype=torch.bfloat16) / layer.in_features**0.5
            up = torch.randn(layer.out_features, RANK, dtype=torch.bfloat16) / 64
            changes[f"{name}.weight"] = (Change(LowRank(down, up)),)
    return Adapter(part, changes)


def lora_ratios(blocks: int, repeats: int) -> dict[str, float]:
    """Time with LoRAs as a multiple of that without."""
    with ExitStack() as stack:
        plain, runs = run_of(stack, make_model(blocks), RESIDENT, LORA_TOKENS), {}
        for part, words in (("attn", "attention"), ("", "all matrices")):
            for count in (1, 3):
                model = make_model(blocks)
                loras = [AppliedAdapter(lora_of(model, part), strength) for strength in (1.0, 0.8, 0.5)[:count]]
                stack.enter_context(adapted(model, loras))
                runs[f"{count} on {words}"] = run_of(stack, model, RESIDENT, LORA_TOKENS)
        return {name: 1 / time_in_turn(run, plain, repeats).speedup for name, run in runs.items()}


def to_markdown(tables: dict[int, dict[str, float]]) -> str:
    """A row for each format, a column for each number of tokens."""
    lines = ["| times bf16 | " + " | ".join(f"{tokens:,} tokens" for tokens in tables) + " |"]
    lines.append("|---|" + "---:|" * len(tables))
    for name in next(iter(tables.values())):
        lines.append(f"| {name} | " + " | ".join(f"{table[name]:.2f}" for table in tables.values()) + " |")
    return "\n".join(lines)


@torch.inference_mode()
def main(arguments: list[str] | None = None) -> int:
    """Runs the command; gives its exit code."""
    parser = argparse.ArgumentParser(prog="python -m wan_director.benchmarks.quantised")
    parser.add_argument("--repeats", type=int, default=7, help="timed runs of each row")
    parser.add_argument("--blocks", type=int, default=1, help="blocks of the model")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--tokens", type=int, nargs="*", default=TOKENS, help="of the clips, multiples of 8")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    measure = partial(quantised_ratios, blocks=options.blocks, repeats=options.repeats)
    if options.tokens:
        print(to_markdown({tokens: measure(tokens) for tokens in options.tokens}), flush=True)
    loras = lora_ratios(options.blocks, options.repeats)
    print(f"\n| rank-{RANK} LoRAs, {LORA_TOKENS:,} tokens | extra time |\n|---|---:|")
    for name, ratio in loras.items():
        print(f"| {name} | {ratio - 1:+.1%} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
