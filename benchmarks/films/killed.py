"""One film killed many times at random moments and begun again each time: is its file that of an undisturbed run?

    python -m wan_director.benchmarks.films.killed GRAPH [KILLS] [SEED] [LONGEST_S]

A graph in the server's format with one film in it. Each run is a process of its own that ends by `kill -9` after random
seconds: while models are read, in a step, between steps, while a clip is decoded, packed or put to disk. It is forked
off one that has imported everything, so that a run has begun at once; one that comes to its end all the same is
compared, and the film begins anew. Prints how far each had come, and the end.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import torch
import wan_director
from wan_director.__main__ import main as command_line

STEPS_SAVED_EACH_S = "0"


def command(graph: Path, output: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "wan_director", "run", str(graph), "--output", str(output), *more]


def environment(runs: Path) -> dict[str, str]:
    """Where a run keeps what it has reached; a state is saved after every step."""
    kept = {"WAN_DIRECTOR_RESUME_FOLDER": str(runs), "WAN_DIRECTOR_RESUME_SECONDS": STEPS_SAVED_EACH_S}
    return os.environ | kept | {"OMP_NUM_THREADS": "1"}


def results(folder: Path) -> dict[str, str]:
    """What is under a name of its own: unfinished files are hidden until they are removed."""
    files = (file for file in folder.rglob("*") if file.is_file() and not file.name.startswith("."))
    return {file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def start(arguments: list[str], log: Path) -> int:
    """A run of the command line in a process of its own, which writes to a log; gives its id."""
    child = os.fork()
    if child:
        return child
    with contextlib.suppress(BaseException):
        said = os.open(log, os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
        os.dup2(said, 1)
        os.dup2(said, 2)
        os._exit(command_line(arguments))
    os._exit(1)


def ended(child: int, within_s: float) -> bool:
    """Whether it comes to its end within so many seconds; it is killed where it does not."""
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        if os.waitpid(child, os.WNOHANG)[0]:
            return True
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def main(graph: str, kills: int = 50, seed: int = 1, longest_s: float = 6.0) -> int:
    rng, folder = random.Random(seed), Path(tempfile.mkdtemp(prefix="killed-"))
    whole, disturbed, runs, log = (folder / name for name in ("whole", "disturbed", "runs", "log"))
    os.environ |= environment(runs)
    torch.set_num_threads(1)
    assert wan_director.NODE_CLASS_MAPPINGS
    began = time.monotonic()
    assert ended(start(["run", graph, "--output", str(whole), "--no-resume"], log), math.inf)
    print(json.dumps({"undisturbed_s": round(time.monotonic() - began, 1), "files": results(whole)}), flush=True)
    same, again = True, ["run", graph, "--output", str(disturbed)]
    for number in range(1, kills + 1):
        after_s = rng.uniform(0, longest_s)
        if ended(start(again, log), after_s):
            same = same and results(disturbed) == results(whole)
            print(json.dumps({"run": number, "ended": True, "same_bytes": same}), flush=True)
            shutil.rmtree(disturbed)
            continue
        kept = [len(list(where.glob("run-*"))) for where in (runs / "films", runs)]
        record = {"run": number, "after_s": round(after_s, 2), "clips_kept": kept[0], "runs_kept": kept[1]}
        print(json.dumps(record | {"went_on": went_on(log.read_text())}), flush=True)
    assert ended(start(again, log), math.inf)
    same = same and results(disturbed) == results(whole)
    left = [file.name for file in runs.rglob("*") if file.is_file()]
    print(json.dumps({"went_on": went_on(log.read_text()), "same_bytes": same, "left": left}), flush=True)
    return 0 if same else 1


def went_on(said: str) -> list[str]:
    """What a run says of the ones before."""
    return re.findall(r"goes on after (?:clip|step) \d+ of \d+|had made all \d+ \w+|starts anew[^\n]*", said)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], *(int(each) for each in sys.argv[2:4]), *(float(each) for each in sys.argv[4:5])))
