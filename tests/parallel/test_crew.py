"""`wan-director run --gpus N`: processes that make one run together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from wan_director.common.errors import InvalidInputError
from wan_director.parallel.crew import VARIABLE, Seat, count_devices, given_seat

PATIENCE_S = 240
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def command(output: Path, *words: str, graph: str = "tiny_t2v") -> list[str]:
    changes = ("--set", "WanDirectorSampler.steps=3", "--device", "cpu", "--no-resume", "--output", str(output))
    return [sys.executable, "-m", "wan_director", "run", graph, *changes, *words]


def saved(output: Path, *words: str) -> bytes:
    done = subprocess.run(
        command(output, *words, graph="tiny_low_memory"),
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (video,) = (output / "video").iterdir()
    return video.read_bytes()


@pytest.mark.parametrize("ranks", [2, 3])
def test_the_video_is_that_of_one_process(ranks, tmp_path):
    strips = ("--set", f"WanDirectorMemory.vae_strips={ranks}")  # as the ranks have, one each
    assert saved(tmp_path / "many", *strips, "--gpus", str(ranks)) == saved(tmp_path / "one", *strips)


def test_a_process_that_dies_ends_the_run_with_a_sentence(tmp_path):
    output = tmp_path / "never"
    words = ("--set", "WanDirectorSampler.steps=900", "--gpus", "2")
    with subprocess.Popen(command(output, *words), env=ENVIRONMENT, stderr=subprocess.PIPE, text=True) as first:
        assert first.stderr is not None
        said = ""
        while "Sampling: step" not in said:
            said += first.stderr.read(1)
            assert first.poll() is None, said
        (second,) = children(first.pid)
        os.kill(second, signal.SIGKILL)
        said = first.stderr.read()
        assert first.wait(PATIENCE_S) == 1
    assert "Device 1 of 2 has ended: with exit code -9." in said and not output.exists()


def test_a_stopped_run_leaves_nothing_behind(tmp_path):
    words = ("--set", "WanDirectorSampler.steps=900", "--gpus", "2")
    with subprocess.Popen(command(tmp_path, *words), env=ENVIRONMENT, stderr=subprocess.PIPE, text=True) as first:
        assert first.stderr is not None
        said = ""
        while "Sampling: step" not in said:
            said += first.stderr.read(1)
            assert first.poll() is None, said
        (second,) = children(first.pid)
        first.send_signal(signal.SIGINT)
        assert "stopped." in first.stderr.read() and first.wait(PATIENCE_S) == 130
    time.sleep(0.1)
    with pytest.raises(ProcessLookupError):
        os.kill(second, 0)


def children(parent: int) -> list[int]:
    psutil = pytest.importorskip("psutil")
    return [child.pid for child in psutil.Process(parent).children()]


def test_what_cannot_be_shared_is_refused():
    assert count_devices("3", "cpu") == 3 and count_devices("all", "cpu") == 1
    for wanted, device, said in [("0", "cpu", "got '0'"), ("two", "cpu", "got 'two'"), ("2", "cuda:1", "Leave one")]:
        with pytest.raises(InvalidInputError, match=said):
            count_devices(wanted, device)


def test_the_place_of_a_process_is_told_by_its_environment():
    seat = Seat(1, 4, Path("/a folder/meeting"))
    assert given_seat({VARIABLE: str(seat)}) == seat and given_seat({}) is None
