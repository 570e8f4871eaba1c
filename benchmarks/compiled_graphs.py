"""How many graphs torch.compile makes of the blocks in runs that differ, and what it cannot take as one graph.

    python -m wan_director.benchmarks.compiled_graphs

A small model, compiled without generating code: what is counted is the same for every size and device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn
from torch._dynamo.utils import counters
from wan_director.common.streaming import BlockStream
from wan_director.dit.adapters import Adapter, AppliedAdapter, Change, LowRank, adapted
from wan_director.dit.config import DiTConfig
from wan_director.dit.context import Avoided
from wan_director.dit.execution import Execution
from wan_director.dit.inputs import DitInputs
from wan_director.dit.model import WanDiT
from wan_director.memory.policy import BlockSwap
from wan_director.memory.slabs import Slabs
from wan_director.weights import layers
from wan_director.weights.casting import CASTINGS, cast_matrix

from .compiling import block_call

CONFIG = DiTConfig(dim=48, ffn_dim=80, heads=6, layers=4, text_dim=24, text_tokens=8, freq_dim=16)
CPU = torch.device("cpu")

Run = Callable[..., Tensor]
"""Takes a model and its inputs, and the stream of its blocks; runs it with compiled ones."""


def small_model(operations=nn) -> WanDiT:
    return WanDiT(CONFIG, operations).eval().requires_grad_(False)


def given(frames: int = 3, timestep: float = 500.0) -> DitInputs:
    return DitInputs(torch.randn(1, 16, frames, 8, 12), torch.tensor([timestep]), torch.randn(1, 8, 24))


def compiled_run(dynamic: bool) -> Run:
    """A new compiler's memory, and what runs a model with it."""
    torch.compiler.reset()
    counters.clear()
    compiled = torch.compile(block_call, backend="eager", fullgraph=True, dynamic=dynamic)

    def run(model: WanDiT, inputs: DitInputs, stream: BlockStream = iter) -> Tensor:
        def compiled_blocks(blocks: Iterable[nn.Module]) -> Iterator[partial]:
            return (partial(compiled, block) for block in stream(blocks))

        return model(inputs, Execution(stream=compiled_blocks, may_overwrite=True))

    return run


def steps(run: Run) -> None:
    model = small_model()
    for timestep in (900.0, 500.0, 100.0):
        run(model, given(timestep=timestep))


def experts(run: Run) -> None:
    for model in (small_model(), small_model()):
        run(model, given())


def swapped(run: Run) -> None:
    model = small_model()
    for pinned_bytes in (10**9, 0):
        with BlockSwap(3, pinned_bytes).streaming(model.streamed_blocks, CPU, Slabs()) as stream:
            run(model, given(), stream)


def lengths(run: Run) -> None:
    model = small_model()
    for frames in (3, 5, 7):
        run(model, given(frames))


def lora_strengths(run: Run) -> None:
    model = small_model()
    matrices = {name: each for name, each in model.blocks.named_modules() if isinstance(each, nn.Linear)}
    changes = {
        f"blocks.{name}.weight": (Change(LowRank(torch.randn(4, each.in_features), torch.randn(each.out_features, 4))),)
        for name, each in matrices.items()
    }
    for strength in (1.0, 0.7, 0.3):
        with adapted(model, [AppliedAdapter(Adapter("LoRA", changes), strength)]):
            run(model, given())


def guidance_scales(run: Run) -> None:
    model, text = small_model(), torch.randn(1, 8, 24)
    for scale in (11.0, 5.0, 3.0):
        run(model, replace(given(), avoided=Avoided(text, scale, 0.25, 2.5)))


def stored_in_fp8(run: Run) -> None:
    model = small_model(layers)
    for layer in model.blocks.modules():
        if isinstance(layer, layers.Linear):
            layer.store(cast_matrix(layer.weight, CASTINGS["fp8_scaled"]))
    run(model, given())


WAYS = (("static", False, True), ("dynamic sizes", True, True), ("dynamic sizes and numbers", True, False))
"""What is no constant of a graph: its name, `dynamic`, `specialize_float`."""

CASES = (steps, experts, swapped, lengths, lora_strengths, guidance_scales, stored_in_fp8)


@torch.no_grad()
def graphs(case: Callable[[Run], None], dynamic: bool, specialize_float: bool) -> str:
    """How many graphs a case takes, or why it cannot be one, in words."""
    try:
        with torch._dynamo.config.patch(specialize_float=specialize_float):
            case(compiled_run(dynamic))
    except torch._dynamo.exc.Unsupported as error:
        return f"no single graph: {str(error).splitlines()[0]}"
    return str(counters["stats"]["unique_graphs"])


def main() -> None:
    for case in CASES:
        for kind, dynamic, specialize_float in WAYS:
            print(f"{case.__name__}, {kind}: {graphs(case, dynamic, specialize_float)}", flush=True)


if __name__ == "__main__":
    main()
