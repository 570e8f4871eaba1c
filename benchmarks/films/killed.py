"""One film killed many times at random moments and begun again each time: is its file that of an undisturbed run?

    python -m wan_director.benchmarks.films.killed GRAPH [KILLS] [SEED] [LONGEST_S]

A graph in the server's format with one film in it. `kill -9` after random seconds, so in a step, between steps, while a
clip is decoded, packed or put to disk, or before anything has begun. Prints how far each run had come, and the end.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

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


def main(graph: str, kills: int = 50, seed: int = 1, longest_s: float = 12.0) -> int:
    rng, folder = random.Random(seed), Path(tempfile.mkdtemp(prefix="killed-"))
    whole, disturbed, runs = folder / "whole", folder / "disturbed", folder / "runs"
    began = time.monotonic()
    subprocess.run(command(Path(graph), whole, "--no-resume"), check=True, env=environment(runs), capture_output=True)
    print(json.dumps({"undisturbed_s": round(time.monotonic() - began, 1), "files": results(whole)}), flush=True)
    clips = runs / "films"
    for number in range(1, kills + 1):
        process = subprocess.Popen(
            command(Path(graph), disturbed), env=environment(runs), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        after_s = rng.uniform(0.5, longest_s)
        try:
            process.wait(after_s)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        said = process.communicate()[1].decode()
        kept = len(list(clips.glob("run-*"))) if clips.is_dir() else 0
        ended = process.returncode == 0
        record = {"run": number, "after_s": round(after_s, 2), "clips_kept": kept, "went_on": went_on(said)}
        print(json.dumps(record | ({"ended": True} if ended else {})), flush=True)
        if ended:
            break
    done = subprocess.run(command(Path(graph), disturbed), env=environment(runs), capture_output=True, check=False)
    same = results(disturbed) == results(whole) and done.returncode == 0
    left = [file.name for file in runs.rglob("*") if file.is_file()]
    print(json.dumps({"went_on": went_on(done.stderr.decode()), "same_bytes": same, "left": left}), flush=True)
    return 0 if same else 1


def went_on(said: str) -> list[str]:
    """What a run says of the ones before."""
    return re.findall(r"goes on after (?:clip|step) \d+ of \d+|had made all \d+ \w+|starts anew[^\n]*", said)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], *(int(each) for each in sys.argv[2:4]), *(float(each) for each in sys.argv[4:5])))
