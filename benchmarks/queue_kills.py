"""A queue on a real Ray cluster whose server and workers are killed again and again: is every video made, once, and to
the bit that of an undisturbed run?

    python -m wan_director.benchmarks.queue_kills [JOBS] [WORKERS] [SECONDS BETWEEN KILLS]

Needs `pip install ray`. The cluster is of this machine alone, listens at 127.0.0.1, and ends with the script.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
from wan_director.cluster.client import QueueClient, Unreachable
from wan_director.cluster.folder import SharedFolder

PORT, RAY_PORT, STEPS = 8197, 6397, 8
GRAPH = Path(__file__).resolve().parents[1] / "workflows" / "api" / "tiny_t2v.json"
# Ray takes a loopback address for this machine's outer one, unless it is told that there are no others.
ALONE = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
LARGEST_WAIT_S = 3600.0


def graph_of(seed: int) -> dict[str, Any]:
    graph = json.loads(GRAPH.read_text(encoding="utf-8"))
    graph["7"]["inputs"].update(seed=seed, steps=STEPS)
    graph["9"]["inputs"]["filename_prefix"] = "video/tiny"
    return graph


def ray(*words: str) -> None:
    command = [sys.executable, "-m", "ray.scripts.scripts", *words, "--disable-usage-stats"]
    subprocess.run(
        command, env={**os.environ, **ALONE}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True
    )


def pack(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "wan_director", *words], env={**os.environ, **ALONE}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@contextlib.contextmanager
def cluster(folder: Path, workers: int) -> Iterator[None]:
    """Inside, Ray keeps the queue's server and workers running."""
    short = Path(tempfile.mkdtemp(prefix="rt", dir="/tmp"))  # the paths of Ray's sockets have a limit
    own = ["--node-ip-address", "127.0.0.1", "--object-store-memory", "100000000", "--num-gpus", "0"]
    head = ["--head", "--port", str(RAY_PORT), "--include-dashboard=false", "--temp-dir", str(short)]
    before = set(psutil.pids())
    ray("start", *head, *own, "--num-cpus", str(workers))
    address = f"127.0.0.1:{RAY_PORT}"
    try:
        common = ["serve", str(folder), "--ray", address]
        where = ["--workers", str(workers), "--device", "cpu", "--port", str(PORT), "--span", "15", "--tries", "5"]
        pack(*common, *where, "--quiet")
        yield
        pack(*common, "--stop")
    finally:
        for process in psutil.process_iter(["pid", "cmdline"]):
            is_of_ray = any(str(short) in word for word in process.info["cmdline"] or ())
            if process.pid not in before and is_of_ray:
                process.kill()


def victims(folder: Path) -> dict[str, list[psutil.Process]]:
    """Processes of the queue by what they are: a server or worker, or what of Ray keeps it."""
    listed = list(psutil.process_iter(["cmdline"]))
    of_queue = {
        kind: [each for each in listed if (each.info["cmdline"] or [])[2:4] == [kind, str(folder)]]
        for kind in ("serve", "work")
    }
    keepers = [each for each in listed if "ray::KeptCommand" in " ".join(each.info["cmdline"] or ())]
    return {"server": of_queue["serve"], "worker": of_queue["work"], "Ray's keeper": keepers}


def resident_mb(folder: Path) -> float:
    with contextlib.suppress(IndexError, psutil.Error):
        return victims(folder)["server"][0].memory_info().rss / 1e6
    return 0.0


def asked(client: QueueClient, what: Any) -> Any:
    """Asks until the server is there."""
    until_s = time.monotonic() + LARGEST_WAIT_S
    while True:
        try:
            return what(client)
        except Unreachable:
            assert time.monotonic() < until_s
            time.sleep(0.3)


def disturbed(client: QueueClient, folder: Path, jobs: int, pause_s: float) -> tuple[Counter[str], list[float]]:
    """Kills something again and again until all jobs have ended; what was killed, and the server's memory."""
    chance, killed, memory = random.Random(1), Counter[str](), []
    while True:
        time.sleep(chance.uniform(0.5, 1.5) * pause_s)
        counts = asked(client, lambda queue: queue.jobs(limit=1))["counts"]
        memory.append(resident_mb(folder))
        print(f"{counts['done']} of {jobs} done, {sum(killed.values())} killed", flush=True)
        if not counts["queued"] and not counts["running"]:
            return killed, memory
        kind = chance.choice(["worker", "worker", "server", "Ray's keeper"])
        there = victims(folder)[kind]
        if there:
            with contextlib.suppress(psutil.Error):
                chance.choice(there).send_signal(signal.SIGKILL)
                killed[kind] += 1


def undisturbed(seeds: range, folder: Path) -> dict[int, str]:
    """The digests of the same videos, made one after another in one process by `run`."""
    made = {}
    lines = folder / "lines.txt"
    words = [
        f"Wan Sampler.seed={seed} | Wan Sampler.steps={STEPS} | {graph_of(seed)['5']['inputs']['positive']}\n"
        for seed in seeds
    ]
    lines.write_text("".join(words), encoding="utf-8")
    set_prefix = ("--set", "9.filename_prefix=video/tiny")
    pack("run", str(GRAPH), *set_prefix, "--prompts", str(lines), "--device", "cpu", "--output", str(folder / "plain"),
         "--no-resume", "--quiet")  # fmt: skip
    for seed, video in zip(seeds, sorted((folder / "plain" / "video").iterdir())):
        made[seed] = hashlib.sha256(video.read_bytes()).hexdigest()
    return made


def main() -> None:
    jobs, workers, pause_s = (
        int((sys.argv[1:] + ["200"])[0]),
        int((sys.argv[2:] + ["3"])[0]),
        float((sys.argv[3:] + ["6"])[0]),
    )
    with tempfile.TemporaryDirectory(prefix="wan-director-kills-") as name:
        folder = Path(name)
        shared = SharedFolder(folder / "queue")
        with cluster(shared.path, workers):
            client = QueueClient(f"http://127.0.0.1:{PORT}", shared.tokens().asking)
            asked(client, lambda queue: queue.jobs(limit=1))
            begun_s = time.monotonic()
            ids, took = {}, []
            for seed in range(jobs):
                at_s = time.monotonic()
                said = {"key": f"seed-{seed:08}", "prompt": graph_of(seed)}
                ids[seed] = asked(client, lambda queue, said=said: queue.submit(said, {}))["id"]
                took.append(time.monotonic() - at_s)
            killed, memory = disturbed(client, shared.path, jobs, pause_s)
            lasted_s = time.monotonic() - begun_s
            found = {seed: asked(client, lambda queue, id=id: queue.job(id)) for seed, id in ids.items()}
        wanted = undisturbed(range(jobs), folder)
        states = Counter(job["state"] for job in found.values())
        results = {seed: [each["sha256"] for each in job["results"]] for seed, job in found.items()}
        folders = [each for each in (shared.path / "results").iterdir() if not each.name.startswith(".")]
        print(f"jobs: {dict(states)}; submitted in {statistics.median(took) * 1000:.0f} ms each (median)")
        attempts = Counter(job["attempts"] for job in found.values())
        print(f"killed: {dict(killed)} in {lasted_s:.0f} s; jobs by attempts: {dict(attempts)}")
        print(f"equal to the bit: {sum(results[seed] == [wanted[seed]] for seed in results)} of {jobs}")
        print(f"folders of results: {len(folders)}; states left: {len(list(shared.states.glob('run-*')))}")
        print(f"server's memory: {min(filter(None, memory)):.0f} to {max(memory):.0f} MB")


if __name__ == "__main__":
    main()
