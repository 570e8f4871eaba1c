"""`train`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from .....common.errors import MissingFileError
from .....common.log import logger
from .....engine.local import LocalRuntime
from .....tuning.beginning import NamedTraining, named_trainings
from .....tuning.settings import read_settings
from ....hosts.host import BUNDLED_MODELS
from ...model_paths import Folders
from ..folders import model_folders
from ..session import Session
from ..terminal import say

_TOLD_EVERY = 10


def train(options: argparse.Namespace, session: Session) -> None:
    """Trains a LoRA, or one for each of two experts, and prints their paths; the log has the loss."""
    settings = read_settings(options.config)
    runtime = LocalRuntime(options.device, show_progress=not options.quiet)
    folders = model_folders(options)
    with session.stop.between_blocks(runtime):
        named = named_trainings(settings, lambda kind, name: find_model(folders, settings.folder, kind, name))
        waiting = [each for each in named if not each.is_finished()]
        for each in waiting:
            each.check_target(options.overwrite)
            each.check_fits(runtime)
        for each in named:
            target = each.places.target.resolve()
            if each in waiting:
                _learn(each, runtime)
            else:
                logger.info("%s is finished already: these very settings made it.", target.name)
            say(target)


def _learn(named: NamedTraining, runtime: LocalRuntime) -> None:
    """One training; its models are let go at the end."""
    for made in named.prepare(runtime).run():
        if made.step % _TOLD_EVERY == 0 or made.step == made.steps:
            prior = "" if made.prior_loss is None else f", prior {made.prior_loss:.4f}"
            logger.info("Step %d of %d: loss %.4f%s.", made.step, made.steps, made.loss, prior)


def find_model(folders: Mapping[str, list[Path]] | Folders, beside: Path, kind: str, name: str) -> Path:
    """A model by its name in the folders of its kind, the bundled ones last, or by its path.

    Raises:
        MissingFileError: it is in none of them.
    """
    candidates = [*(folder / name for folder in (*folders.get(kind, ()), BUNDLED_MODELS / kind)), beside / name]
    found = next((path for path in candidates if path.exists()), None)
    if found is None:
        raise MissingFileError(f"There is no file {name} in models/{kind}. Download it, or give --models.")
    return found
