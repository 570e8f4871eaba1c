"""A benchmark's results as data, as Markdown, and as files."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median

from .suite import Row
from .timing import Timing

GIB = 2**30
PACKAGES = ("torch", "diffusers", "transformers", "wan-director")


@dataclass(frozen=True, slots=True)
class TimingResult:
    """CPU-seconds of a row: each run, and how many times faster ours is by the medians."""

    part: str
    size: str
    ours_s: tuple[float, ...]
    peer_s: tuple[float, ...]
    speedup: float
    target: float | None
    holds: bool | None


@dataclass(frozen=True, slots=True)
class MemoryResult:
    """Peak bytes of a row, and ours as a part of the peer's."""

    part: str
    size: str
    ours_bytes: int
    peer_bytes: int
    ratio: float
    target: float | None
    holds: bool | None


@dataclass(frozen=True, slots=True)
class Report:
    """Everything needed to read the figures later. `load` is the machine's load average before and after."""

    date: str
    dtype: str
    threads: int
    machine: dict[str, str | int]
    versions: dict[str, str]
    load: tuple[float, float]
    timings: tuple[TimingResult, ...]
    memory: tuple[MemoryResult, ...]


def timing_result(row: Row, timing: Timing) -> TimingResult:
    """The row with its measured times, checked against its target."""
    holds = None if row.target is None else timing.speedup >= row.target
    return TimingResult(row.part, row.size, timing.ours_s, timing.peer_s, timing.speedup, row.target, holds)


def memory_result(row: Row, ours_bytes: int, peer_bytes: int) -> MemoryResult:
    """The row with its counted bytes, checked against its target."""
    ratio = ours_bytes / peer_bytes
    holds = None if row.target is None else ratio <= row.target
    return MemoryResult(row.part, row.size, ours_bytes, peer_bytes, ratio, row.target, holds)


def describe_machine() -> dict[str, str | int]:
    """CPU model, cores and operating system."""
    return {"cpu": _cpu_model(), "cores": os.cpu_count() or 0, "system": f"{platform.system()} {platform.machine()}"}


def describe_versions() -> dict[str, str]:
    """Versions of Python and of what is compared."""
    return {"python": platform.python_version(), **{package: _version(package) for package in PACKAGES}}


def load_average() -> float:
    """Processes that wanted a core in the last minute; 0 where the system does not tell."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def today() -> str:
    """Date of the report, ISO format."""
    return date.today().isoformat()


def to_markdown(report: Report) -> str:
    """The report as a page of Markdown."""
    versions = ", ".join(f"{name} {number}" for name, number in report.versions.items())
    lines = [
        f"# Benchmark of {report.date}",
        "",
        f"{report.machine['cpu']}, {report.machine['cores']} cores, {report.machine['system']}; {versions}.",
        f"{report.dtype}, {report.threads} thread(s), load {report.load[0]:.1f} before and {report.load[1]:.1f} after. "
        "Random weights.",
    ]
    if report.timings:
        lines += [
            "",
            "## Speed: process CPU-seconds, median (smallest to largest), runs made in turn",
            "",
            "| part | size | ours | peer | times faster | target |",
            "|---|---|---|---|---|---|",
            *(_timing_line(result) for result in report.timings),
        ]
    if report.memory:
        lines += [
            "",
            "## Memory: peak GiB of intermediate tensors, without weights and inputs",
            "",
            "Counted on the meta device, attention as a fused kernel. Strips that wait are not counted: with the "
            "network on a GPU they are in RAM.",
            "",
            "| part | size | ours | peer | ours / peer | target |",
            "|---|---|---|---|---|---|",
            *(_memory_line(result) for result in report.memory),
        ]
    return "\n".join(lines) + "\n"


def write_report(report: Report, folder: Path, name: str) -> Path:
    """Writes <date>-<name>.json and .md into `folder`; gives the path of the latter."""
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / f"{report.date}-{name}.md"
    page.write_text(to_markdown(report), encoding="utf-8")
    page.with_suffix(".json").write_text(json.dumps(asdict(report), indent=1) + "\n", encoding="utf-8")
    return page


def _timing_line(result: TimingResult) -> str:
    target = _target(result.target, result.holds, ">= {:.1f}x")
    times = f"{_spread(result.ours_s)} | {_spread(result.peer_s)}"
    return f"| {result.part} | {result.size} | {times} | {result.speedup:.2f}x | {target} |"


def _memory_line(result: MemoryResult) -> str:
    target = _target(result.target, result.holds, "<= {:.0%}")
    peaks = f"{result.ours_bytes / GIB:.3f} | {result.peer_bytes / GIB:.3f}"
    return f"| {result.part} | {result.size} | {peaks} | {result.ratio:.1%} | {target} |"


def _target(target: float | None, holds: bool | None, form: str) -> str:
    return "" if target is None else f"{form.format(target)} {'holds' if holds else 'MISSED'}"


def _spread(seconds: tuple[float, ...]) -> str:
    return f"{median(seconds):.3f} ({min(seconds):.3f} to {max(seconds):.3f})"


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
