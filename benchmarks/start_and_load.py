"""What starting and loading take: a run of the bundled model, `--help`, and casting a big file to fp8 while it is read.

`python -m wan_director.benchmarks.start_and_load --file FILE [--before PYTHON] [--repeats 5]`: FILE is a transformer of
`random_checkpoint`, PYTHON that of an installation to compare with. Every line is a process of its own; all lines are
run in turn, so that a busy machine disturbs all alike, and of each the median is told. Seconds of the processor count
the system's work for the process, too. The file is put out of the system's cache before it is read.
"""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from wan_director.common.log import logger

from .load_14b import forget_cached
from .report import load_average

WORKFLOW = Path(__file__).resolve().parents[1] / "workflows" / "tiny_t2v.json"
"""By its path, which older builds want."""

_LOADING = """
import sys, time, torch
from pathlib import Path
from wan_director.benchmarks.load_14b import anonymous_bytes, watch_anonymous
from wan_director.model_loading.build import load
from wan_director.model_loading.kinds import DIT
before = anonymous_bytes()
with watch_anonymous() as peak:
    wall, cpu = time.perf_counter(), time.process_time()
    module = load(DIT, Path(sys.argv[1]), precision=sys.argv[2], device="cpu").module
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
weights = sum(value.nbytes for value in module.state_dict().values())
print(wall, cpu, (peak.bytes - before) / weights)
"""
_READING = """
import sys, time
from pathlib import Path
from wan_director.benchmarks.load_14b import seconds_to_read
cpu = time.process_time()
wall = seconds_to_read(Path(sys.argv[1]))
print(wall, time.process_time() - cpu, 0)
"""
_NATIVE = """
import sys, time, torch
from safetensors import safe_open
wall, cpu = time.perf_counter(), time.process_time()
with safe_open(sys.argv[1], "pt") as file:
    weights = {key: file.get_tensor(key).to(torch.float8_e4m3fn) for key in file.keys()}
print(time.perf_counter() - wall, time.process_time() - cpu, 0)
"""


@dataclass(frozen=True, slots=True)
class Took:
    """One process.

    Attributes:
        wall_s, cpu_s: of the clock, and of the processor in all threads.
        memory: its highest anonymous memory, as a part of the weights; 0 where nobody looked.
    """

    wall_s: float
    cpu_s: float
    memory: float = 0.0


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; gives its exit code."""
    parser = argparse.ArgumentParser(prog="python -m wan_director.benchmarks.start_and_load", description=__doc__)
    parser.add_argument("--file", type=Path, help="a transformer in bf16; without it, loading is left out")
    parser.add_argument("--before", metavar="PYTHON", help="the Python of an installation to compare with")
    parser.add_argument("--repeats", type=int, default=5, help="of each line (default 5)")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    pythons = {"now": sys.executable, **({"before": options.before} if options.before else {})}
    load = load_average()
    with tempfile.TemporaryDirectory() as folder:
        _tell("starting", in_turn(starts(pythons, Path(folder)), options.repeats), "import numpy")
    if options.file is not None:
        _tell("loading", in_turn(loads(pythons, options.file), options.repeats), "reading the file")
    logger.info("\nProcesses that wanted a core: %s before, %s after.", load, load_average())
    return 0


def starts(pythons: Mapping[str, str], output: Path) -> dict[str, Callable[[], Took]]:
    """`import numpy` and `import torch`, and of each installation `--help` and a run of the bundled model."""
    lines: dict[str, Callable[[], Took]] = {
        f"import {name}": _process([sys.executable, "-c", f"import {name}"], output) for name in ("numpy", "torch")
    }
    for name, python in pythons.items():
        command = [python, "-m", "wan_director"]
        lines[f"--help, {name}"] = _process([*command, "--help"], output)
        lines[f"run tiny_t2v, {name}"] = _process([*command, "run", str(WORKFLOW), "--quiet"], output)
    return lines


def loads(pythons: Mapping[str, str], file: Path) -> dict[str, Callable[[], Took]]:
    """Reading a file, loading it as fp8_scaled and as it is, and casting it by torch alone, unscaled and unchecked."""
    lines: dict[str, Callable[[], Took]] = {
        "reading the file": _measured(sys.executable, _READING, file),
        "torch alone, no scales": _measured(sys.executable, _NATIVE, file),
    }
    for name, python in pythons.items():
        for precision in ("fp8_scaled", "bf16"):
            lines[f"{precision}, {name}"] = _measured(python, _LOADING, file, precision)
    return lines


def in_turn(lines: Mapping[str, Callable[[], Took]], repeats: int) -> dict[str, Took]:
    """The median of each line; each is run once before, to warm up, and then all of them in turn."""
    took: dict[str, list[Took]] = {name: [] for name in lines}
    for repeat in range(repeats + 1):
        for name, run in lines.items():
            each = run()
            if repeat:
                took[name].append(each)
    return {
        name: Took(*map(median, zip(*((t.wall_s, t.cpu_s, t.memory) for t in each)))) for name, each in took.items()
    }


def _process(command: list[str], folder: Path) -> Callable[[], Took]:
    """Runs a whole process, in this folder; counts what its own processes take, too."""

    def run() -> Took:
        before, start = os.times(), time.perf_counter()
        subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, check=True)
        after, wall = os.times(), time.perf_counter() - start
        children = after.children_user + after.children_system
        return Took(wall, children - before.children_user - before.children_system)

    return run


def _measured(python: str, code: str, file: Path, *words: str) -> Callable[[], Took]:
    """Runs code that prints what it took."""

    def run() -> Took:
        forget_cached(file)
        command = [python, "-c", code, str(file), *words]
        environment = {"OMP_WAIT_POLICY": "passive", **os.environ}
        printed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment).stdout
        return Took(*map(float, printed.split()))

    return run


def _tell(title: str, took: Mapping[str, Took], unit: str) -> None:
    """Prints a table of Markdown; `unit` is the line that all are compared with."""
    logger.info(
        "\n| %s | s of the clock | by %s | s of the processor | by %s | peak memory / weights |", title, unit, unit
    )
    logger.info("|---|---|---|---|---|---|")
    one = took[unit]
    for name, each in took.items():
        memory = f"{each.memory:.3f}" if each.memory else ""
        logger.info(
            "| %s | %.2f | %.2f | %.2f | %.2f | %s |",
            name, each.wall_s, each.wall_s / one.wall_s, each.cpu_s, each.cpu_s / one.cpu_s, memory,
        )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
