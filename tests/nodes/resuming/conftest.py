"""Runs of the tiny models that are kept in a folder, and broken off where a test wants it."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from wan_director.dit.inputs import Conditioning
from wan_director.engine.models import VideoModel, load_model
from wan_director.engine.recipe import ModelRecipe
from wan_director.engine.resuming.folder import StateFolder
from wan_director.engine.resuming.kept import NO_RUNS_KEPT, RunsInFolder
from wan_director.engine.sampling.sample import run_sampler
from wan_director.engine.sampling.settings import SamplerSettings
from wan_director.nodes.hosts.host import host

STEPS = 4
SETTINGS = SamplerSettings(seed=3, steps=STEPS, cfg=3.0, shift=5.0, solver="unipc", schedule="simple")


@pytest.fixture(autouse=True)
def on_the_tiny_host(tiny_host):
    with torch.inference_mode():
        yield


@pytest.fixture
def kept(tiny_host, tmp_path: Path) -> RunsInFolder:
    """The runs of the host from now on: saved after every step, however fast."""
    tiny_host.runtime.kept_runs = RunsInFolder(StateFolder(tmp_path / "runs"), every_s=0.0, clock=lambda: 0.0)
    return tiny_host.runtime.kept_runs


def load(name: str = "t2v.safetensors", **changes: Any) -> VideoModel:
    path = host().find_model("diffusion_models", name)
    return load_model(ModelRecipe(path, **{"precision": "fp32", **changes}), host().runtime)


def sides(seed: int = 1) -> tuple[Conditioning, Conditioning]:
    generator = torch.Generator().manual_seed(seed)
    positive, negative = (Conditioning(torch.randn(1, 512, 128, generator=generator)) for _ in range(2))
    return positive, negative


def sample(model: VideoModel, settings: SamplerSettings = SETTINGS, **inputs: Any) -> torch.Tensor:
    positive, negative = inputs.pop("prompts", None) or sides()
    latent = inputs.pop("latent", torch.zeros(1, 16, 3, 6, 8))
    return run_sampler(model, positive, negative, latent, settings, **inputs)


def undisturbed(model: VideoModel, settings: SamplerSettings = SETTINGS, **inputs: Any) -> torch.Tensor:
    """The result of a run of which nothing is kept."""
    runtime = model.runtime
    kept, runtime.kept_runs = runtime.kept_runs, NO_RUNS_KEPT
    try:
        return sample(model, settings, **inputs)
    finally:
        runtime.kept_runs = kept


@contextlib.contextmanager
def at_step(model: VideoModel, step: int, then: Callable[[], None]):
    """Does something in the middle of the step after `step` others: in its first pass."""
    kept = model.runtime.kept_runs
    counting = Counting(kept.folder.path, [])
    model.runtime.kept_runs = replace(kept, folder=counting)

    def act(*_call: object) -> None:
        if len(counting.saved) == step:
            counting.saved.append("broken off")
            then()

    experts = [model, *([] if model.low_noise is None else [model.low_noise.model])]
    heads = [
        child
        for expert in experts
        for name, child in expert.residence.module.named_children()
        if name in ("head", "head_global")  # the second one is that of a plan of a whole dance
    ]
    hooks = [head.register_forward_hook(act) for head in heads]
    try:
        yield
    finally:
        model.runtime.kept_runs = kept
        for hook in hooks:
            hook.remove()


class Counting(StateFolder):
    """Knows which states it has saved."""

    def __init__(self, path: Path, saved: list[str]) -> None:
        super().__init__(path)
        object.__setattr__(self, "saved", saved)

    def save(self, key: str, value: Any, kinds: Any) -> int:
        size = super().save(key, value, kinds)
        self.saved.append(key)
        return size


def killed(run: Callable[[], object]) -> None:
    """Runs something in a process of its own, which ends there by SIGKILL."""
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            run()
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def kill_in_step(model: VideoModel, step: int, settings: SamplerSettings = SETTINGS, **inputs: Any) -> None:
    """A run that ends by kill -9 in the middle of the step after `step` others."""

    def run() -> None:
        with at_step(model, step, lambda: os.kill(os.getpid(), signal.SIGKILL)):
            sample(model, settings, **inputs)

    killed(run)


class Stopped(Exception):  # noqa: N818
    """As ComfyUI's stop button raises something."""


def stop_in_step(model: VideoModel, step: int, settings: SamplerSettings = SETTINGS, **inputs: Any) -> None:
    """A run that an exception ends in the middle of the step after `step` others."""

    def stop() -> None:
        raise Stopped

    with at_step(model, step, stop), pytest.raises(Stopped):
        sample(model, settings, **inputs)


def files(kept: RunsInFolder) -> list[Path]:
    return sorted(kept.folder.path.iterdir()) if kept.folder.path.is_dir() else []
