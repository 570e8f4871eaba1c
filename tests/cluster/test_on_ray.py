"""A queue on a real Ray cluster of this machine alone. Needs `pip install wan-director[ray]`."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .test_kills import graph_of, patiently, undisturbed

pytest.importorskip("ray")
psutil = pytest.importorskip("psutil")
# Ray takes a loopback address for this machine's outer one, unless it is told that there are no others.
ALONE = {
    **os.environ, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1",
}  # fmt: skip


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@pytest.fixture
def address() -> Iterator[str]:
    """A cluster without a dashboard, of two processors."""
    port, folder = free_port(), Path("/tmp") / f"ray-{os.getpid()}"  # the paths of its sockets have a limit
    words = ["start", "--head", "--port", str(port), "--node-ip-address", "127.0.0.1", "--num-cpus", "2", "--num-gpus"]
    words += ["0", "--include-dashboard=false", "--object-store-memory", "100000000", "--disable-usage-stats"]
    before = set(psutil.pids())
    command = [sys.executable, "-m", "ray.scripts.scripts", *words, "--temp-dir", str(folder)]
    subprocess.run(command, env=ALONE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True, timeout=120)
    yield f"127.0.0.1:{port}"
    for process in psutil.process_iter(["cmdline"]):
        if process.pid not in before and any(str(folder) in word for word in process.info["cmdline"] or ()):
            process.kill()


def pack(*words: str) -> str:
    command = [sys.executable, "-m", "wan_director", *words]
    done = subprocess.run(command, env=ALONE, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_ray_keeps_server_and_workers_running(address, tmp_path):
    from wan_director.cluster.client import QueueClient
    from wan_director.cluster.folder import SharedFolder

    folder, port = SharedFolder(tmp_path / "queue"), free_port()
    where = ("serve", str(folder.path), "--ray", address)
    pack(*where, "--workers", "1", "--device", "cpu", "--port", str(port), "--span", "10", "--tries", "5", "--quiet")
    client = QueueClient(f"http://127.0.0.1:{port}", folder.tokens().asking)
    id = patiently(client, lambda queue: queue.submit({"key": "seed-0001", "prompt": graph_of(1)}, {}))["id"]
    for kind in ("serve", "work"):
        while not (found := running(kind, folder.path)):
            time.sleep(0.1)
        keeper = found[0].parent()
        assert keeper is not None and "ray::" in " ".join(keeper.cmdline())
        keeper.send_signal(signal.SIGKILL)
    until_s = time.monotonic() + 120
    while (job := patiently(client, lambda queue: queue.job(id)))["state"] != "done":
        assert time.monotonic() < until_s, job
        time.sleep(0.2)
    found = client.fetch(id, job["results"][0], tmp_path / "out")
    assert found.read_bytes() == undisturbed(graph_of(1), tmp_path / "plain")
    assert "2 processes have ended" in pack(*where, "--stop")
    until_s = time.monotonic() + 30
    while running("serve", folder.path) or running("work", folder.path):
        assert time.monotonic() < until_s
        time.sleep(0.1)


def running(kind: str, folder: Path) -> list:
    """The processes of a command for a folder."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if (process.info["cmdline"] or [])[2:4] == [kind, str(folder)]
    ]
