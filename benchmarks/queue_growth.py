"""What a queue's server holds and how fast it answers as jobs become many; no video is made.

    python -m wan_director.benchmarks.queue_growth [JOBS OVER HTTP] [MOST JOBS IN THE FILE]

First stub workers take jobs over HTTP and end them at once, which is the server's whole work; then the queue's file is
filled with jobs that wait, and asked as the server does.
"""

from __future__ import annotations

import json
import multiprocessing
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil
from wan_director.cluster.client import QueueClient
from wan_director.cluster.desk import Checked, Desk
from wan_director.cluster.folder import SharedFolder
from wan_director.cluster.jobs import Request
from wan_director.cluster.queue import JobQueue
from wan_director.cluster.server import Address, QueueServer
from wan_director.cluster.tables import transaction

GRAPH = json.loads((Path(__file__).resolve().parents[1] / "workflows" / "api" / "tiny_t2v.json").read_text("utf-8"))
WORKERS, SAMPLES, REPEATS = 4, 10, 200
SIZES = (1_000, 10_000, 100_000, 1_000_000)


def serve(folder: str, ready: Any) -> None:
    """A server that takes every graph."""
    shared = SharedFolder(Path(folder))
    desk = Desk(shared, JobQueue(shared.queue), lambda prompt, files: Checked(prompt, "model"))
    server = QueueServer(desk, shared.tokens(), Address(port=0))
    with server.serving():
        ready.put(server.port)
        time.sleep(36_000)


def stub_worker(
    number: int, client: QueueClient, waits: list[float], submitted: Mapping[str, float], left: list[int]
) -> None:
    """Takes jobs and ends them until `left` of all are done."""
    while left[0] > 0:
        job = client.ask("/worker/lease", {"worker": str(number), "warm": "model", "wait_s": 1})["job"]
        if job is None:
            continue
        if job["id"] in submitted:
            waits.append(time.monotonic() - submitted[job["id"]])
        client.ask(
            f"/worker/{job['id']}/beat", {"lease": job["lease"], "worker": str(number), "reached": 1, "said": "s"}
        )
        client.ask(
            f"/worker/{job['id']}/end", {"lease": job["lease"], "how": "done", "results": [["a.mp4", 1, "0" * 64]]}
        )
        left[0] -= 1


def over_http(jobs: int) -> None:
    """Memory of the server while stub workers do all jobs, and how fast."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        ready = context.Queue()
        process = context.Process(target=serve, args=(folder, ready), daemon=True)
        process.start()
        url, tokens = f"http://127.0.0.1:{ready.get()}", SharedFolder(Path(folder)).tokens()
        asking, working = QueueClient(url, tokens.asking), QueueClient(url, tokens.working)
        resident = psutil.Process(process.pid).memory_info
        waits: list[float] = []
        submitted: dict[str, float] = {}
        left, memory = [jobs], [resident().rss / 1e6]
        begun_s = time.monotonic()
        workers = [
            threading.Thread(target=stub_worker, args=(each, working, waits, submitted, left))
            for each in range(WORKERS)
        ]
        for worker in workers:
            worker.start()
        for index in range(jobs):
            at_s = time.monotonic()
            submitted[asking.submit({"key": f"stub-{index:08}", "prompt": GRAPH, "title": "stub"}, {})["id"]] = at_s
            if index % (jobs // SAMPLES) == 0:
                memory.append(resident().rss / 1e6)
        for worker in workers:
            worker.join()
        lasted_s = time.monotonic() - begun_s
        memory.append(resident().rss / 1e6)
        counts = asking.jobs(limit=1)["counts"]
        size = sum(file.stat().st_size for file in Path(folder).glob("queue*"))
        process.kill()
        process.join()
    print(f"{counts['done']} stub jobs in {lasted_s:.1f} s: {jobs / lasted_s:.0f} jobs/s, 4 questions each")
    print(f"from submit to a waiting worker: median {1000 * statistics.median(waits):.0f} ms")
    print(
        f"server's memory in MB: {', '.join(f'{each:.0f}' for each in memory)}; file: {size / jobs / 1e3:.1f} kB a job"
    )


def filled(queue: JobQueue, first: int, last: int) -> None:
    """Writes jobs that wait as `JobQueue.submit` does, many at once: each by itself waits for the disk."""
    content = json.dumps([{"9": GRAPH["9"]}, None, {}], separators=(",", ":"))
    rows = range(first, last)
    with transaction(queue._database) as database:
        database.executemany(
            "INSERT INTO jobs (number, id, key, state, title, model, priority, submitted_s) "
            "VALUES (?, ?, ?, 'queued', 'stub', ?, ?, 0)",
            ((each + 1, f"{each:016x}", f"key-{each}", f"model{each % 7}", each % 3) for each in rows),
        )
        database.executemany("INSERT INTO requests VALUES (?, ?)", ((each + 1, content) for each in rows))


def milliseconds(work: Callable[[int], object]) -> float:
    times = []
    for each in range(REPEATS):
        begun_s = time.perf_counter()
        work(each)
        times.append(1000 * (time.perf_counter() - begun_s))
    return statistics.median(times)


def in_the_file(most: int) -> None:
    """How long the questions take as jobs become many."""
    print("| jobs that wait | submit | lease and end | newest 100 | counts | opening | memory of the process |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        path, before = Path(folder) / "queue.sqlite", 0
        for size in (each for each in SIZES if each <= most):
            queue = JobQueue(path)
            filled(queue, before, size)
            before = size

            def lease_and_end(_: int, queue: JobQueue = queue) -> None:
                leased = queue.lease("w", "model3")
                assert leased is not None
                queue.done(leased.id, leased.lease, [])

            times = [
                milliseconds(lambda each, size=size, queue=queue: queue.submit(Request(f"more-{size}-{each}", GRAPH))),
                milliseconds(lease_and_end),
                milliseconds(lambda _, queue=queue: queue.jobs()),
                milliseconds(lambda _, queue=queue: queue.counts()),
            ]
            queue.close()
            begun_s = time.perf_counter()
            JobQueue(path).close()
            opening = 1000 * (time.perf_counter() - begun_s)
            memory = psutil.Process().memory_info().rss / 1e6
            shown = " | ".join(f"{each:.2f} ms" for each in (*times, opening))
            print(f"| {size:,} | {shown} | {memory:.0f} MB |", flush=True)
            before += REPEATS
        print(f"the file: {path.stat().st_size / before / 1e3:.2f} kB a job")


if __name__ == "__main__":
    over_http(int((sys.argv[1:] + ["5000"])[0]))
    in_the_file(int((sys.argv[2:] + ["1000000"])[0]))
