"""The time of a step with the blocks resident, half of them swapped and all of them swapped.

`python -m wan_director.benchmarks.swap --preset t2v-14B --size 480x832x81` on a GPU; `--tiny` runs everywhere. Weights
are random. A step is one pass of the transformer; policies are timed in turn. Beside it: the bytes copied per pass, how
fast plain copies of one block's slab are, how long they would take alone, and the peak of device memory.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median

import torch
from torch import nn
from wan_director.common.errors import WanDirectorError
from wan_director.common.log import logger
from wan_director.common.shapes import VideoShape, latent_frames
from wan_director.dit.config import DiTConfig
from wan_director.dit.execution import Execution
from wan_director.dit.inputs import DitInputs
from wan_director.dit.model import WanDiT
from wan_director.dit.presets import PRESETS
from wan_director.memory.backend import make_backend
from wan_director.memory.policy import BlockSwap, block_bytes, swapped_blocks
from wan_director.memory.residency import Weights
from wan_director.memory.slabs import Slabs
from wan_director.weights import layers
from wan_director.weights.casting import CASTINGS, cast_matrix

from .report import describe_machine, describe_versions, load_average, today

TINY = DiTConfig(dim=256, ffn_dim=1024, heads=4, layers=8, text_dim=64, text_tokens=64, freq_dim=64)
COPIES = 10


@dataclass(frozen=True, slots=True)
class SwapResult:
    """One policy: seconds of each timed pass, and what it moved and held."""

    swapped: int
    blocks: int
    seconds: tuple[float, ...]
    copied_bytes: int
    copy_bytes_per_s: float
    peak_device_bytes: int | None
    same_bits: bool

    @property
    def copy_s(self) -> float:
        """Seconds that the copies of a pass would take by themselves."""
        return self.copied_bytes / self.copy_bytes_per_s


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; gives its exit code: 0, or 2 when it could not run."""
    options = _parse(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    device = torch.device(options.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    config = TINY if options.tiny else PRESETS[options.preset]
    config = replace(config, layers=options.layers or config.layers)
    load_before = load_average()
    try:
        results = measure(config, _video(options.size), device, fp8=options.fp8, repeats=options.repeats)
    except WanDirectorError as error:
        logger.error("%s", error)
        return 2
    for line in table(results):
        logger.info("%s", line)
    if options.output:
        machine = describe_machine() | {"device": _device_name(device)}
        record = {"date": today(), "machine": machine, "versions": describe_versions(), "options": vars(options)}
        record |= {"load": (load_before, load_average()), "results": [asdict(result) for result in results]}
        options.output.write_text(json.dumps(record, indent=1, default=str) + "\n", encoding="utf-8")
    return 0


def measure(
    config: DiTConfig, video: VideoShape, device: torch.device, *, fp8: bool = False, repeats: int = 5
) -> list[SwapResult]:
    """Times a pass of a random model with none, half and all of its blocks swapped, in turn."""
    module, inputs = _random_model(config, fp8), _random_inputs(config, video, device)
    counts = (0, config.layers // 2, config.layers)
    seconds: dict[int, list[float]] = {count: [] for count in counts}
    peaks: dict[int, int | None] = {}
    outputs: dict[int, torch.Tensor] = {}
    weights, slabs = Weights(module), Slabs()
    for _ in range(repeats):
        for count in counts:
            passes, peaks[count], outputs[count] = _time_passes(weights, slabs, count, inputs, device)
            seconds[count].append(passes)
    sizes = block_bytes(module.streamed_blocks)
    speed = _copy_speed(max(sizes), device)
    return [
        SwapResult(
            swapped=count,
            blocks=config.layers,
            seconds=tuple(seconds[count]),
            copied_bytes=BlockSwap(count).footprint(sizes, device).copied_bytes,
            copy_bytes_per_s=speed,
            peak_device_bytes=peaks[count],
            same_bits=bool(torch.equal(outputs[count], outputs[0])),
        )
        for count in counts
    ]


def table(results: Sequence[SwapResult]) -> list[str]:
    """The results as lines of Markdown."""
    lines = [
        "| blocks swapped | s per pass | beside resident | copied | copy alone | peak | same bits |",
        "|" + "---|" * 7,
    ]
    resident = median(results[0].seconds)
    for result in results:
        pass_s = median(result.seconds)
        peak = "-" if result.peak_device_bytes is None else f"{result.peak_device_bytes / 2**30:.2f} GiB"
        lines.append(
            f"| {result.swapped} of {result.blocks} | {pass_s:.4f} | {pass_s / resident - 1:+.1%} | "
            f"{result.copied_bytes / 1e9:.2f} GB | {result.copy_s:.4f} s at {result.copy_bytes_per_s / 1e9:.1f} GB/s | "
            f"{peak} | {'yes' if result.same_bits else 'NO'} |"
        )
    return lines


@torch.inference_mode()
def _time_passes(
    weights: Weights, slabs: Slabs, count: int, inputs: DitInputs, device: torch.device
) -> tuple[float, int | None, torch.Tensor]:
    """Seconds of the second of two passes, the peak of device memory, and the velocity on the CPU."""
    policy, module = BlockSwap(count), weights.module
    weights.leave_out(swapped_blocks(policy, module))
    weights.load(device)
    try:
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        with policy.streaming(module.streamed_blocks, device, slabs) as stream:
            execution = Execution(stream=stream, may_overwrite=True)
            module(inputs, execution)
            seconds, velocity = _timed(lambda: module(inputs, execution), device)
        peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
        return seconds, peak, velocity.cpu()
    finally:
        weights.unload()


def _timed(run: Callable[[], torch.Tensor], device: torch.device) -> tuple[float, torch.Tensor]:
    _synchronize(device)
    start = time.perf_counter()
    result = run()
    _synchronize(device)
    return time.perf_counter() - start, result


def _copy_speed(size_bytes: int, device: torch.device) -> float:
    """Bytes per second of copies from a slab to a slot, with nothing beside them."""
    block = nn.Module()
    block.register_buffer("weight", torch.ones(size_bytes, dtype=torch.uint8))
    slabs, backend = Slabs(), make_backend(device)  # a slab is pinned as long as `slabs` has it
    slab, slot = slabs.pack(block, device).slab, backend.allocate(size_bytes)
    backend.copy(slot, slab, backend.record())
    _synchronize(device)
    start = time.perf_counter()
    for _ in range(COPIES):
        backend.copy(slot, slab, backend.record())
    _synchronize(device)
    return COPIES * size_bytes / (time.perf_counter() - start)


def _random_model(config: DiTConfig, fp8: bool) -> WanDiT:
    """A bf16 model, or one whose matrices are fp8 with a scale per row; every block has the same numbers."""
    with torch.device("meta"):
        module = WanDiT(config, layers if fp8 else nn).to(torch.bfloat16)
    module.to_empty(device="cpu").eval().requires_grad_(False)
    torch.manual_seed(0)
    for name, parameter in module.named_parameters():
        if not name.startswith("blocks.") or name.startswith("blocks.0."):
            parameter.normal_(std=0.02)
    for block in module.blocks[1:]:
        block.load_state_dict(module.blocks[0].state_dict())
    for layer in module.blocks.modules() if fp8 else ():
        if isinstance(layer, layers.Linear):
            layer.store(cast_matrix(layer.weight, CASTINGS["fp8_scaled"]))
    return module


def _random_inputs(config: DiTConfig, video: VideoShape, device: torch.device) -> DitInputs:
    torch.manual_seed(1)
    size = (latent_frames(video.frames), video.height // 8, video.width // 8)
    image = torch.randn(1, config.image_channels, *size) if config.image_channels else None
    text = torch.randn(1, config.text_tokens, config.text_dim)
    latent = torch.randn(1, config.out_channels, *size)
    return DitInputs(
        latent.to(device),
        torch.tensor([500.0]).to(device),
        text.to(device),
        None if image is None else image.to(device),
    )


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m wan_director.benchmarks.swap", description=__doc__)
    parser.add_argument("--preset", choices=PRESETS, default="t2v-14B")
    parser.add_argument("--tiny", action="store_true", help="a small model instead, which runs on a CPU")
    parser.add_argument("--layers", type=int, help="blocks of the model (default: all)")
    parser.add_argument("--size", default="480x832x81", help="height x width x frames")
    parser.add_argument("--fp8", action="store_true", help="matrices stored in fp8, dequantised on the device")
    parser.add_argument("--device", help="cpu, cuda, ... (default: cuda if there is one)")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path, help="a .json file for the results")
    return parser.parse_args(arguments)


def _video(size: str) -> VideoShape:
    height, width, frames = (int(part) for part in size.split("x"))
    return VideoShape(frames, height, width)


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


if __name__ == "__main__":
    sys.exit(main())
