"""Decodes a long latent straight into a video file and shows that memory and time per frame do not grow.

`python -m wan_director.benchmarks.long_decode --frames 1001 --width 64 --height 64` takes a narrow autoencoder with
random weights, `--true-size` that of Wan 2.1. The first frames are compared with decoding them as one clip.
"""

from __future__ import annotations

import argparse
import logging
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import torch
from torch import Tensor
from wan_director.common.log import logger
from wan_director.common.shapes import latent_frames
from wan_director.media.place import SavePlace
from wan_director.media.video_writing import save_video
from wan_director.nodes.hosts.command_line import HeadlessHost
from wan_director.nodes.hosts.host import use_host
from wan_director.vae3d import CausalVAE, VAEConfig

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
COMPARED_LATENT_FRAMES = 5
REPORTS = 5


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; gives its exit code."""
    parser = argparse.ArgumentParser(prog="python -m wan_director.benchmarks.long_decode", description=__doc__)
    parser.add_argument("--frames", type=int, default=1001)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--height", type=int, default=64)
    parser.add_argument("--dtype", choices=DTYPES, default="fp32")
    parser.add_argument("--strips", type=int, default=1)
    parser.add_argument("--true-size", action="store_true", help="the autoencoder of Wan 2.1, else a narrow one")
    parser.add_argument("--compare", action="store_true", help="with whole-clip decode, for the first 17 frames")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    use_host(HeadlessHost())
    config = VAEConfig() if options.true_size else VAEConfig(base_channels=16, residual_blocks=1)
    with torch.inference_mode():
        _run(_random_vae(config).to(DTYPES[options.dtype]), options)
    return 0


def _run(vae: CausalVAE, options: argparse.Namespace) -> None:
    stride = vae.config.spatial_stride
    size = (latent_frames(options.frames), options.height // stride, options.width // stride)
    latent = torch.randn(1, vae.config.latent_channels, *size, generator=torch.Generator().manual_seed(1))
    if options.compare:
        _compare(vae, latent[:, :, :COMPARED_LATENT_FRAMES], options.strips)
    times: list[tuple[float, int]] = []
    with tempfile.TemporaryDirectory() as folder:
        place = SavePlace(Path(folder), "long", 1, "")
        frames = _measured(vae, latent, options.strips, times)
        (file,) = save_video(frames, place, format="mp4-h264", fps=16, quality=80, metadata={})
        logger.info("%d frames written, %.1f MB", options.frames, file.stat().st_size / 1e6)
    _report(times)


def _measured(vae: CausalVAE, latent: Tensor, strips: int, times: list[tuple[float, int]]) -> Iterator[Tensor]:
    """Frames [H, W, 3], noting CPU seconds and resident bytes behind each latent frame."""
    before = time.process_time()
    for piece in vae.decode_stream(latent, strips):
        pictures = ((piece.float() + 1) / 2).clamp(0, 1)[0].movedim(0, -1)
        times.append(((time.process_time() - before) / len(pictures), _resident_bytes()))
        yield from pictures
        before = time.process_time()


def _compare(vae: CausalVAE, latent: Tensor, strips: int) -> None:
    streamed = torch.cat(list(vae.decode_stream(latent, strips)), dim=2)
    whole = vae.decode_whole(latent.to(streamed.dtype))
    error = (streamed - whole).abs().max() / whole.abs().max()
    logger.info("largest difference from whole-clip decode, %d frames: %.1e", whole.shape[2], error.item())


def _report(times: list[tuple[float, int]]) -> None:
    """One line for each fifth of the clip; the first latent frames, which warm up, are left out."""
    steady = times[3:] or times
    length = max(1, len(steady) // REPORTS)
    for start in range(0, len(steady), length):
        seconds, resident = zip(*steady[start : start + length], strict=True)
        logger.info(
            "latent frames %d to %d: %.3f CPU s per frame (median), resident %.1f MB", start + 3,
            start + 2 + len(seconds), median(seconds), max(resident) / 1e6,
        )  # fmt: skip
    logger.info("peak resident %.1f MB", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize()


def _random_vae(config: VAEConfig) -> CausalVAE:
    vae = CausalVAE(config).requires_grad_(False).eval()
    generator = torch.Generator().manual_seed(0)
    for name, weight in vae.named_parameters():
        noise = torch.randn(weight.shape, generator=generator)
        weight.copy_(1 + 0.1 * noise if "gamma" in name else noise * 0.9 / max(weight[0].numel(), 4) ** 0.5)
    return vae


if __name__ == "__main__":
    sys.exit(main())
