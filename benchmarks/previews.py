"""What previews cost: processor seconds of a preview beside those of the step that it shows.

`python -m wan_director.benchmarks.previews --preset t2v-1.3B --size 480x832x81 --blocks 1`. Weights are random.
A step is that of the whole model: one pass through a few blocks is timed, and counts as often as the step has blocks.
Counted is the time of the processor in all threads of this process; on a GPU the time that goes by.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from wan_director.common.families import WAN_2_1, WAN_2_2_5B, Family
from wan_director.common.log import logger
from wan_director.common.shapes import LatentShape, VideoShape
from wan_director.dit.config import DiTConfig
from wan_director.dit.execution import Execution
from wan_director.dit.inputs import DitInputs
from wan_director.dit.model import WanDiT
from wan_director.dit.presets import PRESETS
from wan_director.engine.loaded import place
from wan_director.engine.local import LocalRuntime
from wan_director.engine.previews.moving import MovingPicture
from wan_director.engine.previews.preview import ColourPreview, Draw, Preview, RunShape, SharpPreview
from wan_director.engine.recipe import ModelRecipe
from wan_director.engine.tasks import latent_shape
from wan_director.nodes.hosts.moving import jpeg
from wan_director.vae3d.tiny import TinyDecoder, TinyDecoderConfig

SMALL = replace(PRESETS["t2v-1.3B"], dim=128, ffn_dim=256, heads=1, layers=2, text_dim=64, text_tokens=32, freq_dim=64)


@dataclass(frozen=True, slots=True)
class PreviewCost:
    """One way to preview.

    Attributes:
        way: which.
        pictures: how many it draws.
        draw_s, show_s: seconds to draw them, and to compress each for the canvas.
        step_s: of the step.
    """

    way: str
    pictures: int
    draw_s: float
    show_s: float
    step_s: float

    @property
    def part(self) -> float:
        """Of the time of the step."""
        return (self.draw_s + self.show_s) / self.step_s


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; gives its exit code."""
    options = _parse(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    device = torch.device(options.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    config = SMALL if options.tiny else PRESETS[options.preset]
    frames_last = [int(side) for side in options.size.split("x")]
    video = VideoShape(frames_last[2], *frames_last[:2])
    for line in table(measure(config, video, device, blocks=options.blocks, passes=options.passes, side=options.side)):
        logger.info("%s", line)
    return 0


@torch.inference_mode()
def measure(
    config: DiTConfig, video: VideoShape, device: torch.device, *, blocks: int = 1, passes: int = 2, side: int = 512
) -> list[PreviewCost]:
    """Times both ways to preview a step of a random model.

    Args:
        blocks: of the model that are timed, for all that it has.
        passes: of a step.
        side: of the preview in pixels.
    """
    family = WAN_2_2_5B if config.out_channels == WAN_2_2_5B.latent_channels else WAN_2_1
    latent = latent_shape(family, video)
    step_s = _block_s(config, latent, device, blocks) * config.layers * passes
    tokens = latent.frames * latent.height * latent.width // 4
    run = RunShape(latent, 0, config.block_flops(tokens) * config.layers * passes)
    denoised = torch.randn(1, *latent, device=device)
    with tempfile.TemporaryDirectory() as folder:
        ways: list[tuple[str, Preview]] = [
            ("colours", ColourPreview(family)), ("sharp", _decoder(Path(folder), family, side))
        ]  # fmt: skip
        return [_cost(way, preview.start(run, device, lambda: None), denoised, side, step_s) for way, preview in ways]


def table(costs: list[PreviewCost]) -> list[str]:
    """The results as lines of Markdown."""
    lines = ["| preview | pictures | s to draw | s to compress | s of the step | part |", "|" + "---|" * 6]
    for cost in costs:
        lines.append(
            f"| {cost.way} | {cost.pictures} | {cost.draw_s:.3f} | {cost.show_s:.3f} | {cost.step_s:.1f} | "
            f"{cost.part:.3%} |"
        )
    return lines


def _cost(way: str, draw: Draw, denoised: Tensor, side: int, step_s: float) -> PreviewCost:
    draw(denoised)  # the first one brings the decoder to its place
    shown: list[MovingPicture | None] = []
    draw_s = _seconds(lambda: shown.append(draw(denoised)), denoised.device)
    picture = shown[0]
    assert picture is not None, "both ways draw something"
    count = len(picture.frames)
    show_s = _seconds(lambda: [jpeg(picture, index, side) for index in range(count)], torch.device("cpu"))
    return PreviewCost(way, count, draw_s, show_s, step_s)


def _block_s(config: DiTConfig, latent: LatentShape, device: torch.device, blocks: int) -> float:
    """Seconds of one block, in the middle of a model with none before it."""
    config = replace(config, layers=blocks)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    with torch.device("meta"):
        module = WanDiT(config, nn).to(dtype)
    module.to_empty(device=device).eval().requires_grad_(False)
    torch.manual_seed(0)
    for parameter in module.parameters():
        parameter.normal_(std=0.02)
    text = torch.randn(1, config.text_tokens, config.text_dim, device=device)
    inputs = DitInputs(torch.randn(1, *latent, device=device), torch.tensor([500.0], device=device), text)
    embedded = module.embed(inputs)
    if device.type == "cuda":
        module.trunk([embedded], Execution())
    return _seconds(lambda: module.trunk([embedded], Execution()), device) / blocks


def _decoder(folder: Path, family: Family, side: int) -> SharpPreview:
    """A preview decoder of the published size."""
    torch.manual_seed(0)
    config = TinyDecoderConfig(family.latent_channels, patch=family.spatial_stride // 8)
    path = folder / "decoder.safetensors"
    save_file({name: weight.half() for name, weight in TinyDecoder(config).state_dict().items()}, path)
    return SharpPreview(place(ModelRecipe(path, "preview_decoder"), LocalRuntime()), side)


def _seconds(run: Callable[[], object], device: torch.device) -> float:
    """Of the processor; of the clock where it only waits for a GPU."""
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = clock()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return clock() - start


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m wan_director.benchmarks.previews", description=__doc__)
    parser.add_argument("--preset", default="t2v-1.3B", choices=PRESETS, help="size of the model")
    parser.add_argument("--size", default="480x832x81", help="of the video: height x width x frames")
    parser.add_argument("--blocks", type=int, default=1, help="of the model that are timed")
    parser.add_argument("--passes", type=int, default=2, help="of a step; 1 at cfg 1")
    parser.add_argument("--side", type=int, default=512, help="of the preview in pixels")
    parser.add_argument("--device", help="cpu or cuda; default: the GPU, if there is one")
    parser.add_argument("--tiny", action="store_true", help="a model of two small blocks")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
