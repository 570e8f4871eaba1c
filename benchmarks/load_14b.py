"""Loads a true-size checkpoint of random weights, cast to fp8, and measures memory and time.

`python -m wan_director.benchmarks.load_14b DIR` writes the 28.6 GB of a T2V-14B in bf16 into DIR (once), reads the file
from disk, loads it in a fresh process as fp8_scaled, and prints seconds, peak anonymous memory and its ratio to the
final weights. The file is put out of the system's cache before it is read and before it is loaded.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from wan_director.common.errors import WanDirectorError
from wan_director.common.log import logger
from wan_director.dit.inputs import DitInputs
from wan_director.dit.model import WanDiT
from wan_director.dit.presets import PRESETS
from wan_director.model_loading.build import load
from wan_director.model_loading.files.file_type import human_bytes
from wan_director.model_loading.kinds import DIT

from .random_checkpoint import checkpoint_shapes, write_random_checkpoint

_READ_BYTES = 1 << 24
_POLL_S = 0.005


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What loading took. Anonymous memory is all that the system could not drop and read again from a file."""

    seconds: float
    weight_bytes: int
    anonymous_before: int
    anonymous_peak: int
    forward_s: float | None

    @property
    def peak_ratio(self) -> float:
        """Peak anonymous memory of loading, relative to the final weights."""
        return (self.anonymous_peak - self.anonymous_before) / self.weight_bytes


class Peak:
    """The highest anonymous memory seen so far."""

    bytes: int = 0


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; gives its exit code: 0, or 2 when it could not run."""
    parser = argparse.ArgumentParser(prog="python -m wan_director.benchmarks.load_14b", description=__doc__)
    parser.add_argument("folder", type=Path, help="where the checkpoint is, or is to be written")
    parser.add_argument("--preset", default="t2v-14B", help=", ".join(PRESETS))
    parser.add_argument("--precision", default="fp8_scaled", help="as for the loader node")
    parser.add_argument("--forward", action="store_true", help="also run the model once, on 256 tokens")
    parser.add_argument("--load", action="store_true", help=argparse.SUPPRESS)  # the fresh process
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    file = options.folder / f"random-{options.preset}-bf16.safetensors"
    try:
        if options.load:
            print(json.dumps(asdict(measure_load(file, options.precision, options.forward))))
            return 0
        if not file.is_file():
            logger.info("writing %s", file)
            write_random_checkpoint(file, checkpoint_shapes("dit", options.preset))
    except WanDirectorError as error:
        logger.error("%s", error)
        return 2
    _report(file, seconds_to_read(file), _load_in_fresh_process(options, file), options.precision)
    return 0


def measure_load(file: Path, precision: str, forward: bool = False) -> LoadResult:
    """Loads a transformer onto the CPU and measures it; optionally one forward pass on 256 tokens."""
    before = anonymous_bytes()
    with watch_anonymous() as peak:
        start = time.perf_counter()
        module = load(DIT, file, precision=precision, device="cpu").module
        seconds = time.perf_counter() - start
    weights = sum(value.numel() * value.element_size() for value in module.state_dict().values())
    return LoadResult(seconds, weights, before, peak.bytes, _forward_seconds(module) if forward else None)


def seconds_to_read(file: Path) -> float:
    """Seconds to read a file from disk once, through a small buffer."""
    forget_cached(file)
    buffer = memoryview(bytearray(_READ_BYTES))
    start = time.perf_counter()
    with file.open("rb", buffering=0) as source:
        while source.readinto(buffer):
            pass
    return time.perf_counter() - start


def forget_cached(file: Path) -> None:
    """Asks the system to drop its cached copy of a file, where it has such a call."""
    if hasattr(os, "posix_fadvise"):
        descriptor = os.open(file, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def anonymous_bytes() -> int:
    """Anonymous memory of this process (Linux): without pages of mapped files."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise OSError("The system does not tell anonymous memory (RssAnon in /proc/self/status).")


@contextmanager
def watch_anonymous() -> Iterator[Peak]:
    """Looks at the anonymous memory of this process every few milliseconds."""
    peak, done = Peak(), threading.Event()
    peak.bytes = anonymous_bytes()

    def watch() -> None:
        while not done.wait(_POLL_S):
            peak.bytes = max(peak.bytes, anonymous_bytes())

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()
        peak.bytes = max(peak.bytes, anonymous_bytes())


def _load_in_fresh_process(options: argparse.Namespace, file: Path) -> LoadResult:
    forget_cached(file)
    command = [
        sys.executable, "-m", "wan_director.benchmarks.load_14b", str(options.folder), "--load",
        "--preset", options.preset, "--precision", options.precision, *(["--forward"] if options.forward else []),
    ]  # fmt: skip
    output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    return LoadResult(**json.loads(output))


def _forward_seconds(module: WanDiT) -> float:
    config = module.config
    latent = torch.randn(1, config.out_channels, 1, 32, 32)
    text = torch.randn(1, config.text_tokens, config.text_dim)
    image = torch.randn(1, config.image_channels, 1, 32, 32) if config.image_channels else None
    inputs = DitInputs(latent=latent, timestep=torch.tensor([500.0]), text=text, image_channels=image)
    start = time.perf_counter()
    with torch.no_grad():
        finite = bool(torch.isfinite(module(inputs)).all())
    seconds = time.perf_counter() - start
    logger.info("forward pass on 256 tokens: %.1f s, %s", seconds, "finite" if finite else "NOT FINITE")
    return seconds


def _report(file: Path, read_s: float, load: LoadResult, precision: str) -> None:
    size = file.stat().st_size
    forward = "" if load.forward_s is None else f"\nforward, 256 tokens  {load.forward_s:.1f} s"
    print(
        f"file            {human_bytes(size)}, read once in {read_s:.1f} s ({size / read_s / 1e9:.2f} GB/s)\n"
        f"loaded          as {precision} in {load.seconds:.1f} s ({load.seconds / read_s:.2f} of reading the file)\n"
        f"weights         {human_bytes(load.weight_bytes)}\n"
        f"peak anonymous  {human_bytes(load.anonymous_peak)}, {load.peak_ratio:.3f} of the weights beside the "
        f"{human_bytes(load.anonymous_before)} before{forward}"
    )


if __name__ == "__main__":
    sys.exit(main())
