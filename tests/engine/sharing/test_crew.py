"""Runs that other processes of this machine make together with this one, over gloo, on the CPU."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from wan_director.common.errors import InvalidInputError, SharingError
from wan_director.engine.local import Interrupted, LocalRuntime
from wan_director.engine.memory import AUTOMATIC, MemorySettings
from wan_director.engine.models import VideoModel, load_model, with_policies
from wan_director.engine.progress import Counted
from wan_director.engine.recipe import ModelRecipe
from wan_director.engine.resuming.folder import StateFolder
from wan_director.engine.resuming.kept import RunsInFolder
from wan_director.engine.sampling.run import ReadyRun
from wan_director.engine.sampling.sample import ready_run, run_sampler
from wan_director.engine.sampling.settings import SamplerSettings
from wan_director.engine.sharing.places import CPU_VARIABLE, Crews
from wan_director.engine.terminal import UnseenProgress
from wan_director.sampling.cache import RatioRecorder
from wan_director.sampling.windows import SlidingWindows
from wan_director.tests.engine.sharing import asked

MODELS = Path(__file__).resolve().parents[3] / "models" / "diffusion_models"
T2V = ModelRecipe(MODELS / "wan_director_tiny_demo_t2v.safetensors", precision="fp32")
TWO, THREE = MemorySettings(gpus=2), MemorySettings(gpus=3)
LIMIT = 1e-5
"""As of tests/parallel."""


class Watching(LocalRuntime):
    """Calls `act` with the step and the block when each block of a run has been computed."""

    act: Callable[[int, str], None] | None = None

    def progress(self, counted: Counted) -> Steps:
        return Steps(self, counted)


class Steps(UnseenProgress):
    def __init__(self, runtime: Watching, counted: Counted) -> None:
        self.runtime, self.done, self.is_sampling = runtime, counted.before, counted.title == "Sampling"

    def update(self, done: int, preview: object = None) -> None:
        self.done = done

    def note(self, text: str) -> None:
        if self.is_sampling and self.runtime.act is not None:
            self.runtime.act(self.done + 1, text)


@pytest.fixture(scope="module")
def runtime() -> Iterator[Watching]:
    made = Watching("cpu")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield made
    torch.set_num_threads(threads)
    made.crews.end()


@pytest.fixture(autouse=True)
def afresh(runtime):
    runtime.act, runtime.interrupted = None, False
    with torch.inference_mode():
        yield


@pytest.fixture
def model(runtime) -> VideoModel:
    return load_model(T2V, runtime)


def sample(model: VideoModel, memory: MemorySettings = AUTOMATIC, **changes: object) -> torch.Tensor:
    settings = SamplerSettings(**{"steps": 3, "seed": 3, "cfg": 4.0, **changes})
    return run_sampler(model, *asked.sides(model), torch.zeros(1, 16, 5, 8, 8), settings, memory=memory)


def ready(model: VideoModel, memory: MemorySettings, steps: int = 3) -> ReadyRun:
    settings = SamplerSettings(steps=steps, seed=3, cfg=4.0)
    return ready_run(model, *asked.sides(model), torch.zeros(1, 16, 5, 8, 8), settings, memory=memory)


def near(one: torch.Tensor, other: torch.Tensor) -> bool:
    return float((one - other).abs().max() / other.abs().max()) <= LIMIT


def processes(runtime: LocalRuntime) -> list[int]:
    crew = runtime.crews._crew
    return [] if crew is None else [member._process.pid for member in crew._members]


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return (
        Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z" if os.path.isdir("/proc") else True
    )


def test_runs_of_a_warm_crew_are_those_of_one_device(runtime, model):
    assert torch.equal(sample(model, TWO), sample(model))  # a pass each
    warm = processes(runtime)
    assert len(warm) == 1
    assert torch.equal(sample(model, TWO, seed=4), sample(model, seed=4))
    assert near(sample(model, TWO, cfg=1.0, solver="euler_ancestral"), sample(model, cfg=1.0, solver="euler_ancestral"))
    assert processes(runtime) == warm and torch.get_num_threads() == 1


def test_policies_go_along(runtime, model):
    windowed = with_policies(model, lambda policies: replace(policies, windows=SlidingWindows(3, 1)))
    assert torch.equal(sample(windowed, TWO), sample(windowed)) and not near(sample(windowed), sample(model))


def test_a_stopped_run_stops_on_all_devices_and_the_next_one_is_made_by_the_same(runtime, model):
    sample(model, TWO)
    warm = processes(runtime)
    seen: list[tuple[int, str]] = []

    def stop(step: int, block: str) -> None:
        seen.append((step, block))
        runtime.interrupted = step == 2 and block.startswith("block 3")

    runtime.act = stop
    with pytest.raises(Interrupted):
        sample(model, TWO, steps=500)
    assert seen[-1][0] == 2 and seen[-1][1].startswith("block 3"), "it stops there"
    runtime.interrupted, runtime.act = False, None
    assert torch.equal(sample(model, TWO), sample(model)) and processes(runtime) == warm


def test_a_device_without_memory_lowers_all(runtime, model, caplog):
    expected = sample(model)
    caplog.set_level(logging.WARNING)
    run = ready(model, TWO)
    found = run._replace(request=partial(asked.without_memory, run.request, 5))._sampled().latent
    assert near(found, expected)
    assert "Out of memory in step" in caplog.text and "from now on, and the step is repeated" in caplog.text


def test_what_ends_another_device_is_said_and_the_next_run_goes_well(runtime, model):
    run = ready(model, TWO)
    with pytest.raises(SharingError, match="Device 1 of 2 has ended: ValueError: not today"):
        run._replace(request=partial(asked.not_ready, run.request))._sampled()
    assert processes(runtime) == []
    assert torch.equal(sample(model, TWO), sample(model))


def test_a_process_that_dies_ends_the_run_with_a_sentence_and_the_others(runtime, model):
    sample(model, THREE)
    first, second = processes(runtime)

    def kill(step: int, block: str) -> None:
        if step == 2 and block.startswith("block 2"):
            os.kill(second, signal.SIGKILL)

    runtime.act = kill
    with pytest.raises(SharingError, match="Device 2 of 3 has ended: with exit code -9."):
        sample(model, THREE, steps=500)
    assert not is_there(first) and not is_there(second)
    assert not runtime.crews._crew.is_at_work


def test_a_run_that_was_broken_off_goes_on_on_all_devices(model, tmp_path, caplog):
    runtime = Watching("cpu", kept_runs=RunsInFolder(StateFolder(tmp_path), every_s=0.0, cost=float("inf")))
    mine = load_model(T2V, runtime)
    try:

        def stop(step: int, _block: str) -> None:
            runtime.interrupted = step == 4

        runtime.act = stop
        with pytest.raises(Interrupted):
            sample(mine, TWO, steps=6)
        runtime.act, runtime.interrupted = None, False
        caplog.set_level(logging.INFO)
        assert torch.equal(sample(mine, TWO, steps=6), sample(model, steps=6))
        assert "Sampling goes on after step" in caplog.text
    finally:
        runtime.crews.end()


HOST = """
import sys, torch
from wan_director.tests.engine.sharing import test_crew
runtime = test_crew.Watching("cpu")
def tell(step, block):
    if step == 2 and block.startswith("block 2"):
        print(test_crew.processes(runtime)[0], flush=True)
runtime.act = tell
with torch.inference_mode():
    test_crew.sample(test_crew.load_model(test_crew.T2V, runtime), test_crew.TWO, steps=900)
"""


def test_processes_end_with_a_host_that_is_killed():
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen([sys.executable, "-c", HOST], env=environment, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        other = int(first.stdout.readline())
        first.kill()
    until = time.monotonic() + 20
    while is_there(other):
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_number_that_cannot_be_had_is_refused(model, monkeypatch):
    cpu = torch.device("cpu")
    with pytest.raises(InvalidInputError, match="2 GPUs are wanted, and this run is on cpu. Choose 1."):
        Crews().check(2, cpu)
    with pytest.raises(InvalidInputError, match="At least 1 GPU"):
        Crews().check(0, cpu)
    Crews().check(1, cpu)
    Crews().check(4, cpu, on_cpu=True)
    elsewhere = load_model(T2V, LocalRuntime("auto"))
    if not torch.cuda.is_available():
        with pytest.raises(InvalidInputError, match="2 GPUs are wanted"):
            ready(elsewhere, TWO)
    monkeypatch.setenv(CPU_VARIABLE, "1")
    Crews().check(2, cpu)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr("wan_director.engine.sharing.places._speak", lambda: True)
    Crews().check(2, torch.device("cuda", 1))
    with pytest.raises(InvalidInputError, match="3 GPUs are wanted, and 2 can be used here. Choose 2."):
        Crews().check(3, torch.device("cuda", 0))
    assert Crews()._others(torch.device("cuda", 1)) == ["cuda:0"]


def test_what_others_cannot_be_told_is_refused_before_anything_starts(runtime, model):
    recording = with_policies(model, lambda policies: replace(policies, cache=RatioRecorder(lambda _ratios: None)))
    with pytest.raises(InvalidInputError, match="cannot be shared among GPUs"):
        sample(recording, TWO)


def test_off_is_absent(model):
    assert torch.equal(sample(model, MemorySettings(gpus=1)), sample(model))
