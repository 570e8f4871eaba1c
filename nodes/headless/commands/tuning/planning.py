"""`plan` of a training, and the tables of both."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from .....common.errors import MissingFileError
from .....engine.local import LocalRuntime
from .....tuning.datasets.reading import found_by
from .....tuning.experts import expert_runs
from .....tuning.fitting.before import planned_samples, planned_training
from .....tuning.fitting.table import table as training_table
from .....tuning.settings import read_settings
from ....planning.table import table as running_table
from ..folders import model_folders
from ..terminal import say
from .plan_words import plan_words, planned_on
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

    files, device = settings.model, _CARD if options.vram else runtime.device("diffusion_model")
    low = find("diffusion_models", files.low_noise_model) if files.low_noise_model else None
    runs = expert_runs(settings, find("diffusion_models", files.diffusion_model), low)
    steps = [planned_training(each.settings, clips, each.model, device) for each in runs]
    plans = [planned_on(step, settings.memory, device, options) for step in steps]
    made = max(plans, key=lambda each: each.device_bytes)
    samples = planned_samples(made, settings, find("vae", files.vae), device)
    say(plan_words(made, samples, len(runs)))
    for each in (*plans, *([samples] if samples else [])):
        each.check()
