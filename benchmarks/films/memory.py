"""The memory of a process that makes a long film, clip by clip; killed in the middle, and gone on with.

    python -m wan_director.benchmarks.films.memory GRAPH CLIPS

A graph in the server's format with one film of so many clips in it. Resident memory of the process, and of ffmpeg
beside it, each time a clip has come to disk. Then the same film again, killed with `kill -9` when half of it is there,
and once more to its end: whether the files are the same.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from .killed import command, environment, results, went_on

LOOK_S = 0.05


def resident_mb(process: int) -> float:
    """0 where there is no such process any more."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1000


def children(process: int) -> list[int]:
    try:
        return [int(each) for each in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    except OSError:
        return []


def watched(process: subprocess.Popen, clips: Path) -> Iterator[tuple[int, float, float]]:
    """Clips on disk, MB of the process, MB of its children; each time a clip more is there."""
    seen = 0
    while process.poll() is None:
        kept = len(list(clips.glob("run-*"))) if clips.is_dir() else 0
        if kept > seen:
            seen = kept
            yield kept, resident_mb(process.pid), sum(map(resident_mb, children(process.pid)))
        time.sleep(LOOK_S)


def started(graph: Path, output: Path, runs: Path, log: Path) -> subprocess.Popen:
    with log.open("wb") as said:
        return subprocess.Popen(command(graph, output), env=environment(runs), stdout=said, stderr=said)


def main(graph: str, clips: int) -> int:
    folder = Path(tempfile.mkdtemp(prefix="film-"))
    log = folder / "log"
    series = []
    whole = started(Path(graph), folder / "whole", folder / "runs", log)
    for kept, own, beside in watched(whole, folder / "runs" / "films"):
        series.append((kept, round(own, 1), round(beside, 1)))
    print(json.dumps({"clips_mb_ffmpeg_mb": series, "files": results(folder / "whole")}), flush=True)
    broken = started(Path(graph), folder / "resumed", folder / "again", log)
    for kept, _own, _beside in watched(broken, folder / "again" / "films"):
        if kept >= clips // 2:
            broken.send_signal(signal.SIGKILL)
            break
    broken.wait()
    sizes = [file.stat().st_size for file in (folder / "again" / "films").glob("run-*")]
    print(json.dumps({"killed_with_clips": len(sizes), "bytes_of_a_clip": round(sum(sizes) / len(sizes))}), flush=True)
    began = time.monotonic()
    started(Path(graph), folder / "resumed", folder / "again", log).wait()
    same = results(folder / "resumed") == results(folder / "whole")
    said = went_on(log.read_text())
    print(json.dumps({"went_on": said, "rest_s": round(time.monotonic() - began, 1), "same_bytes": same}), flush=True)
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
