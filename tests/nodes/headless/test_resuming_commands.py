"""The command line killed with -9, and stopped: the next run goes on, and its file is that of an undisturbed one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .conftest import node

STEPS = 40


class CommandLine:
    """Runs of one workflow, which keep what they reached in a folder."""

    def __init__(self, graph: Path, models: Path, folder: Path) -> None:
        self.kept = folder / "runs"
        self._graph, self._models, self._folder = graph, models, folder

    def start(self, output: str, *options: str, **environment: str) -> subprocess.Popen:
        own = {"WAN_DIRECTOR_RESUME_FOLDER": str(self.kept), "WAN_DIRECTOR_RESUME_SECONDS": "0", "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "wan_director", "run", str(self._graph), "--models", str(self._models)]
        return subprocess.Popen(
            [*command, "--device", "cpu", "--output", str(self._folder / output), *options],
            env={**os.environ, **own, **environment}, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run(self, output: str, *options: str, **environment: str) -> tuple[list[bytes], str]:
        """The frames that a run saves, and what it says."""
        process = self.start(output, *options, **environment)
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said
        frames = sorted((self._folder / output).rglob("*.png"))
        assert len(frames) == 9
        return [frame.read_bytes() for frame in frames], said

    def files(self) -> list[Path]:
        return sorted(self.kept.glob("run-*")) if self.kept.is_dir() else []

    def clips(self) -> list[Path]:
        return sorted(self.kept.glob("films/run-*"))


@pytest.fixture
def command_line(models: Path, write, prompt, tmp_path: Path) -> CommandLine:
    prompt["5"]["inputs"].update(frames=9, width=96, height=96)
    prompt["6"]["inputs"].update(steps=STEPS, solver="dpmpp_2m_sde")
    prompt["8"]["inputs"].update(format="png frames")
    return CommandLine(write(prompt), models, tmp_path)


def end_in_mid_run(process: subprocess.Popen, number: int, line: CommandLine, files: int = 1) -> str:
    end = time.monotonic() + 60
    while len(line.files()) < files:
        assert process.poll() is None and time.monotonic() < end, process.communicate()
        time.sleep(0.002)
    process.send_signal(number)
    return process.communicate(timeout=60)[1]


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
def test_killed_and_run_again(command_line):
    end_in_mid_run(command_line.start("lost"), signal.SIGKILL, command_line)
    (file,) = command_line.files()
    before = file.read_bytes()
    undisturbed, said = command_line.run("undisturbed", "--no-resume")
    assert "goes on after" not in said and file.read_bytes() == before
    frames, said = command_line.run("again")
    assert "Sampling goes on after step " in said and f" of {STEPS}, where an earlier run of it was broken off" in said
    assert frames == undisturbed and command_line.files() == []


def test_a_shared_run_goes_on_and_so_does_one_process_from_there(command_line):
    # Two processes decode rows each, whose numbers are those of strips and not of whole frames.
    ways = [("--gpus", "2"), ()]
    undisturbed = [command_line.run(f"undisturbed {len(way)}", "--no-resume", *way)[0] for way in ways]
    end_in_mid_run(command_line.start("lost", "--gpus", "2"), signal.SIGINT, command_line)
    (file,) = command_line.files()
    kept = file.read_bytes()
    for number, way in enumerate(ways):
        file.write_bytes(kept)
        frames, said = command_line.run(f"again {number}", *way)
        assert "Sampling goes on after step " in said and frames == undisturbed[number] and command_line.files() == []


def test_a_sampler_before_another_is_not_run_twice(models, write, prompt, tmp_path):
    """What ended before the rest was broken off stays until all of it has ended."""
    second = {**prompt["6"]["inputs"], "latent": ["6", 0], "denoise": 0.5, "steps": STEPS, "seed": 3}
    prompt["9"] = node("WanDirectorSampler", **second)
    prompt["7"]["inputs"]["latent"] = ["9", 0]
    prompt["5"]["inputs"].update(frames=9, width=96, height=96)
    prompt["8"]["inputs"].update(format="png frames")
    line = CommandLine(write(prompt), models, tmp_path)
    stopped = end_in_mid_run(line.start("lost"), signal.SIGINT, line, files=2)
    assert stopped.splitlines()[-1] == "wan-director: stopped. The same command goes on from here."
    frames, said = line.run("again")
    assert "goes on after step 1 of 2, " in said or "An earlier run had made all 2 steps" in said
    assert f" of {STEPS}, where an earlier run of it was broken off" in said
    assert line.files() == []
    assert frames == line.run("undisturbed", WAN_DIRECTOR_RESUME="off")[0]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_film_is_stopped_between_its_clips_and_goes_on(number, models, write, prompt, tmp_path):
    film = {
        **{name: prompt["6"]["inputs"][name] for name in ("seed", "cfg", "shift", "solver", "schedule")},
        **{name: prompt["8"]["inputs"][name] for name in ("fps", "filename_prefix")},
        "prompts": "a red ball\na blue box",
        "negative": "bad",
        "width": 96,
        "height": 96,
        "clip_frames": 5,
        "clips": 2,
        "overlap": 1,
        "steps": STEPS,
        "format": "png frames",
        "quality": 80,
        "model": ["i2v", 0],
        "first_model": ["1", 0],
        "vae": ["2", 0],
        "text_encoder": ["3", 0],
    }
    loaders = {id: prompt[id] for id in ("1", "2", "3")}
    i2v = node("WanDirectorLoadModel", model_name="i2v.safetensors", precision="auto", attention="auto")
    line = CommandLine(write({**loaders, "i2v": i2v, "film": node("WanDirectorLongVideo", **film)}), models, tmp_path)
    process, end = line.start("lost"), time.monotonic() + 60
    while not (line.clips() and line.files()):  # a clip is finished, and the next has made a step
        assert process.poll() is None and time.monotonic() < end, process.communicate()
        time.sleep(0.002)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert not [file for file in (tmp_path / "lost").rglob("*") if file.is_file()]
    frames, said = line.run("again")
    assert "The film goes on after clip 1 of 2, where an earlier run of it was broken off." in said
    assert line.files() == line.clips() == []
    assert frames == line.run("undisturbed", "--no-resume")[0]


def test_a_setting_that_means_nothing_is_refused(command_line):
    process = command_line.start("refused", WAN_DIRECTOR_RESUME_GB="lots")
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1 and "WAN_DIRECTOR_RESUME_GB is 'lots'" in said
