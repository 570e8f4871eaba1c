"""`plan` of a training, and the tables of both."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from .....common.errors import MissingFileError
from .....engine.local import LocalRuntime
from .....memory.budget import GB, gigabytes, parse_bytes
from .....memory.pinned import RAM_SHARE
from .....model_loading.kinds import DIT
from .....tuning.datasets.reading import found_by
from .....tuning.experts import expert_runs
from .....tuning.fitting.before import planned_samples, planned_training
from .....tuning.fitting.plan import PlannedStep, TrainingPlan, plan_for, plan_training
from .....tuning.fitting.samples import SamplesPlan
from .....tuning.fitting.settings import TrainingMemory
from .....tuning.fitting.table import table as training_table
from .....tuning.settings import read_settings
from ....planning.table import table as running_table
from ..folders import model_folders
from ..terminal import say
from .training import find_model

_CARD = torch.device("cuda")
"""For which dtypes are chosen where a card is only named."""


def table_of(kind: str) -> str:
    """What runs on which card, or trains."""
    return training_table() if kind == "training" else running_table()


def plan_config(options: argparse.Namespace) -> None:
    """Prints what a training takes, of this machine or of a card that is named; refuses what does not fit."""
    settings, runtime = read_settings(options.graph), LocalRuntime()
    clips = found_by(settings)
    folders = model_folders(options)

    def find(kind: str, name: str) -> Path:
        try:
            return find_model(folders, settings.folder, kind, name)
        except MissingFileError:
            return Path(name)  # perhaps a published one, whose size is known

    files, device = settings.model, _CARD if options.vram else runtime.device(DIT.name)
    low = find("diffusion_models", files.low_noise_model) if files.low_noise_model else None
    runs = expert_runs(settings, find("diffusion_models", files.diffusion_model), low)
    steps = [planned_training(each.settings, clips, each.model, device) for each in runs]
    plans = [_planned(step, settings.memory, device, options) for step in steps]
    made = max(plans, key=lambda each: each.device_bytes)
    samples = planned_samples(made, settings, find("vae", files.vae), device)
    say(_text(made, samples, len(runs)))
    for each in (*plans, *([samples] if samples else [])):
        each.check()


def _planned(
    step: PlannedStep, memory: TrainingMemory, device: torch.device, options: argparse.Namespace
) -> TrainingPlan:
    """On this machine, or on a card that is named."""
    if options.vram is None:
        return plan_training(step, memory, device, LocalRuntime())
    vram, ram = parse_bytes(options.vram), None if options.ram is None else parse_bytes(options.ram)
    pinned = memory.pinned_bytes or (1 << 50 if ram is None else int(RAM_SHARE * ram))
    return plan_for(step, memory, memory.bytes.limit(vram), pinned)


def _text(made: TrainingPlan, samples: SamplesPlan | None, models: int) -> str:
    video, count = made.planned.clips.video, made.planned.clips.count
    limit = "no limit" if made.limit is None else f"{gigabytes(made.limit)} may be used"
    what = "clip" if video.frames > 1 else "picture"
    several = f"{count} {what}s" if count > 1 else f"a {what}"
    length = f"{video.frames} frames, " if video.frames > 1 else ""
    lines = [
        f"The largest step: {several} of {length}{video.width} x {video.height} pixels; {limit}.",
        "",
        *(f"{size / GB:8.2f} GB  {name}" for name, size in made.parts),
        f"{made.device_bytes / GB:8.2f} GB  on the device at most",
        "",
        made.words,
        _ram(made),
        *([samples.words] if samples else []),
        *(["Two experts learn one after the other: one of them is on the device at a time."] if models > 1 else []),
    ]
    return "\n".join(lines)


def _ram(made: TrainingPlan) -> str:
    footprint, inputs = made.choice.footprint, made.choice.way.host_bytes
    line = (
        f"RAM: {gigabytes(footprint.pinned_bytes + inputs)} for swapped blocks and inputs; "
        f"{gigabytes(made.choice.copied_bytes + 2 * inputs)} cross the bus in each step"
    )
    from_file = footprint.file_bytes
    return line + (f"; {gigabytes(from_file)} are read from the file, twice in each step." if from_file else ".")
