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


@pytest.mark.parametrize("where", ["127.0.0.1:{}", "[::1]:{}", "127.0.0.1:99999"])
def test_a_cluster_that_is_not_there_is_named(where, tmp_path, capsys):
    from wan_director.__main__ import main

    where = where.format(free_port())
    assert main(["serve", str(tmp_path), "--ray", where, "--stop"]) == 1
    assert capsys.readouterr().err.startswith(f"wan-director: There is no Ray cluster at {where} (")


LIST_GROUPS = """
import sys, ray
from ray.util.placement_group import placement_group_table
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="error")
groups = [each for each in placement_group_table().values() if each["state"] != "REMOVED"]
print(*(each["name"].split("-")[3] for each in groups))
"""


def groups(address: str) -> list[int]:
    """How many GPUs, for which processors stand, each placement group of the cluster has."""
    command = [sys.executable, "-c", LIST_GROUPS, address]
    done = subprocess.run(command, env=ALONE, capture_output=True, text=True, timeout=120, check=True)
    return sorted(map(int, done.stdout.split()))


def wait_until(holds, within_s: float = 120) -> None:
    until_s = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < until_s
        time.sleep(0.2)


def test_a_video_of_two_gpus_has_a_group_of_its_own_as_long_as_it_is_made(address, tmp_path):
    from wan_director.cluster.client import QueueClient
    from wan_director.cluster.folder import SharedFolder
    from wan_director.common.errors import ClusterError

    folder, port = SharedFolder(tmp_path / "queue"), free_port()
    where = ("serve", str(folder.path), "--ray", address)
    pack(*where, "--device", "cpu", "--workers", "2", "--port", str(port), "--span", "10", "--quiet")
    client = QueueClient(f"http://127.0.0.1:{port}", folder.tokens().asking)

    def submit(seed: int, **more) -> str:
        said = {"key": f"seed-{seed:04}", "prompt": graph_of(seed, **more.pop("of", {})), **more}
        return patiently(client, lambda queue: queue.submit(said, {}))["id"]

    def state(id: str) -> str:
        return patiently(client, lambda queue: queue.job(id))["state"]

    before, large, after = submit(1), submit(2, gpus=2), submit(3)
    wait_until(lambda: patiently(client, lambda queue: queue.jobs())["workers"])
    wait_until(lambda: state(large) == "running")
    assert groups(address) == [2] and state(before) == "done" and client.job(large)["seat"] == 2
    with pytest.raises(ClusterError, match="wants 3 GPUs of one machine, and the largest machine of the queue has 2"):
        submit(4, gpus=3)
    worker = next(each for each in running("work", folder.path) if "--only" in each.cmdline())
    wait_until(lambda: client.job(large)["reached"] >= 2)
    worker.send_signal(signal.SIGKILL)
    wait_until(lambda: state(large) == "done" and state(after) == "done")
    assert client.job(large)["attempts"] == 2
    (result,) = client.job(large)["results"]
    found = client.fetch(large, result, tmp_path / "out")
    assert found.read_bytes() == undisturbed(graph_of(2), tmp_path / "plain", "--gpus", "2")
    wait_until(lambda: groups(address) == [1, 1])
    endless = submit(5, gpus=2, of={"steps": 900})
    wait_until(lambda: state(endless) == "running")
    client.change(endless, "cancel")
    wait_until(lambda: groups(address) == [1, 1])
    pack(*where, "--stop")
    assert groups(address) == []


def running(kind: str, folder: Path) -> list:
    """The processes of a command for a folder."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if (process.info["cmdline"] or [])[2:4] == [kind, str(folder)]
    ]
