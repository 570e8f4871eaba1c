"""The autoencoder of two revisions and of diffusers: CPU time of runs made in turn, and bytes on the meta device.

`python -m wan_director.benchmarks.autoencoder REVISION` compares the working tree with that revision of the repository,
each in a process of its own; `--name vae` keeps the page as `results/<date>-vae.md`. Random weights of the true size.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import lru_cache, partial
from io import BytesIO
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).resolve().parents[1]
GIB = 2**30
TASKS = ("decode", "encode")
DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
TIMED = ((17, 96, 160), (5, 240, 416))  # frames, height, width
SMALL = (5, 32, 32)
COUNTED = ((480, 832, (1, 2)), (720, 1280, (1, 2)), (1280, 2048, (1, 2, 3)))  # height, width, strips; whole first
# In strips the second lot of frames is the first that finds a past everywhere.
LATENT_FRAMES_TO_THE_PEAK = {True: 16, False: 3}
TREE, REVISION, PEER = "working tree", "revision", "diffusers"


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; gives its exit code."""
    options = _parse(arguments)
    if options.serve:
        _serve(options.serve)
        return 0
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        packages = {TREE: Path(name) / "tree", REVISION: Path(name) / "revision"}
        packages[TREE].mkdir()
        (packages[TREE] / "wan_director").symlink_to(ROOT)
        _unpack(options.revision, packages[REVISION] / "wan_director")
        sides = {
            side: stack.enter_context(_side(side, packages.get(side, packages[TREE])))
            for side in (TREE, REVISION, PEER)
        }
        page = "\n".join(_page(sides, options)) + "\n"
    print(page)
    if options.name:
        from wan_director.benchmarks.report import today

        (Path(__file__).parent / "results" / f"{today()}-{options.name}.md").write_text(page, encoding="utf-8")
    return 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m wan_director.benchmarks.autoencoder", description=__doc__)
    parser.add_argument("revision", nargs="?", default="HEAD", help="of this repository, to compare with")
    parser.add_argument("--repeats", type=int, default=5, help="timed runs of each side (default 5)")
    parser.add_argument("--dtype", choices=DTYPES, nargs="+", default=list(DTYPES))
    parser.add_argument("--only", choices=("time", "memory"), help="leave the other half out")
    parser.add_argument("--name", help="keep the page as <date>-NAME.md")
    parser.add_argument("--serve", choices=(TREE, REVISION, PEER), help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def _page(sides: dict[str, Ask], options: argparse.Namespace) -> Iterator[str]:
    from wan_director.benchmarks.report import describe_machine, describe_versions, load_average, today

    machine, load = describe_machine(), load_average()
    versions = ", ".join(f"{name} {number}" for name, number in describe_versions().items() if name != "transformers")
    timed = list(_timed(sides, options)) if options.only != "memory" else []
    yield f"# The autoencoder, {today()}"
    yield ""
    yield f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}; {versions}."
    yield f"Random weights of the true size. Before: revision {options.revision}."
    if timed:
        yield f"Load of the machine {load:.1f} before and {load_average():.1f} after; one thread."
        yield from timed
    if options.only != "time":
        yield from _counted(sides)


def _timed(sides: dict[str, Ask], options: argparse.Namespace) -> Iterator[str]:
    yield from ("", "## CPU time: process seconds, median (least), runs made in turn", "")
    yield "| | frames | dtype | now | before | diffusers | now / before | now / diffusers |"
    yield "|---|---|---|---|---|---|---|---|"
    for dtype, size, task in product(options.dtype, TIMED, TASKS):
        yield _timing_line(task, size, dtype, _seconds(sides, options.repeats, task=task, size=size, dtype=dtype))


def _seconds(sides: dict[str, Ask], repeats: int, **question: object) -> dict[str, list[float]]:
    for ask in sides.values():  # to warm up
        ask(do="time", **{**question, "size": SMALL})
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    for side, ask in list(sides.items()) * repeats:
        seconds[side].append(ask(do="time", **question)["seconds"])
    return seconds


def _timing_line(task: str, size: Sequence[int], dtype: str, seconds: dict[str, list[float]]) -> str:
    frames, height, width = size
    middle = {side: median(values) for side, values in seconds.items()}
    cells = " | ".join(f"{middle[side]:.2f} ({min(values):.2f})" for side, values in seconds.items())
    ratios = " | ".join(f"{middle[TREE] / middle[side]:.2f}" for side in (REVISION, PEER))
    line = f"| {task} | {frames} of {width}x{height} | {dtype} | {cells} | {ratios} |"
    print(line, file=sys.stderr, flush=True)
    return line


def _counted(sides: dict[str, Ask]) -> Iterator[str]:
    yield from ("", "## Memory: peak GiB of intermediate tensors beside the weights, bf16", "")
    yield "Counted on the meta device, frames handed on as they are done. What waits for its turn in strips is in RAM."
    yield "Work: operations, those of whole frames being 1; planned: what is reckoned before a run."
    yield ""
    yield "| | pixels | strips | now | before | planned | work |"
    yield "|---|---|---|---|---|---|---|"
    for (height, width, choices), task in product(COUNTED, TASKS):
        whole: dict[str, Any] = {}
        for strips in choices:
            asked = {"do": "count", "task": task, "size": (height, width), "strips": strips}
            now, before = (sides[side](**asked) for side in (TREE, REVISION))
            whole = whole or now
            cells = " | ".join(f"{figure / GIB:.3f}" for figure in (now["peak"], before["peak"], now["planned"]))
            yield f"| {task} | {width}x{height} | {strips} | {cells} | {now['work'] / whole['work']:.3f} |"


Ask = Callable[..., dict[str, Any]]


@contextmanager
def _side(side: str, package: Path) -> Iterator[Ask]:
    """A process that answers for one side, with the package in a folder."""
    command = [sys.executable, "-P", str(Path(__file__).resolve()), "--serve", side]
    environment = {**os.environ, "PYTHONPATH": str(package), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        given, answers = process.stdin, process.stdout

        def ask(**question: object) -> dict[str, Any]:
            print(json.dumps(question), file=given, flush=True)
            return json.loads(answers.readline())

        yield ask
        given.close()


def _unpack(revision: str, folder: Path) -> None:
    archive = subprocess.run(["git", "archive", revision], cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout
    with tarfile.open(fileobj=BytesIO(archive)) as files:
        files.extractall(folder, filter="data")


def _serve(side: str) -> None:
    """Answers the questions of the standard input, a line of JSON each."""
    torch.set_num_threads(1)
    answers = {"time": partial(_time, side), "count": _count}
    with torch.inference_mode():
        for line in sys.stdin:
            question = json.loads(line)
            print(json.dumps(answers[question.pop("do")](**question)), flush=True)


def _time(side: str, task: str, size: Sequence[int], dtype: str) -> dict[str, float]:
    torch.manual_seed(0)
    frames, height, width = size
    shape = (3, frames, height, width) if task == "encode" else (16, 1 + frames // 4, height // 8, width // 8)
    given = torch.randn(1, *shape, dtype=DTYPES[dtype])
    run = getattr(_model(side, DTYPES[dtype]), task)
    before = time.process_time()
    run(given)
    return {"seconds": time.process_time() - before}


@lru_cache(maxsize=1)
def _model(side: str, dtype: torch.dtype) -> nn.Module:
    if side == PEER:
        from diffusers import AutoencoderKLWan as Model
    else:
        from wan_director.vae3d import CausalVAE as Model
    return Model().eval().to(dtype)


def _count(task: str, size: Sequence[int], strips: int) -> dict[str, float]:
    from wan_director.benchmarks.peak_memory import peak_bytes_beside_shelf
    from wan_director.vae3d import WAN_2_1_VAE, CausalVAE, budget
    from wan_director.vae3d.strips import Shelf

    height, width = size
    with torch.device("meta"):
        vae = CausalVAE().to(torch.bfloat16)
    stream = getattr(vae, f"{task}_stream")

    def use_up(given: torch.Tensor, shelf: Shelf | None = None) -> None:
        for piece in stream(given, strips, shelf=shelf):
            del piece

    longer, shorter = (_empty(task, frames, height, width) for frames in (LATENT_FRAMES_TO_THE_PEAK[strips > 1], 3))
    peak = peak_bytes_beside_shelf(partial(use_up, longer))
    with FlopCounterMode(display=False) as work:
        use_up(shorter)
    planned = getattr(budget, f"{task}_bytes")(WAN_2_1_VAE, height, width, strips=strips)
    return {"peak": peak, "planned": planned, "work": work.get_total_flops()}


def _empty(task: str, latent_frames: int, height: int, width: int) -> torch.Tensor:
    frames = 4 * latent_frames - 3
    shape = (3, frames, height, width) if task == "encode" else (16, latent_frames, height // 8, width // 8)
    return torch.empty(1, *shape, dtype=torch.bfloat16, device="meta")


if __name__ == "__main__":
    sys.exit(main())
