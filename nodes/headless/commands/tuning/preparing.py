"""`prepare`: clips to train on, of a folder of videos."""

from __future__ import annotations

import argparse
import re

from .....common.errors import InvalidInputError
from .....common.log import logger
from .....common.shapes import PictureSize
from .....engine.local import LocalRuntime
from .....tuning.preparation.captions import written_by
from .....tuning.preparation.prepare import Ways
from .....tuning.preparation.settings import Preparation, with_filters
from .....tuning.preparation.whole import check_packages, make_dataset
from ..session import Session
from ..terminal import say


def prepare_clips(options: argparse.Namespace, _session: Session) -> None:
    """Prepares a folder, and prints the paths of the dataset's file and of the report."""
    settings = _settings(options)
    check_packages(settings)
    runtime = LocalRuntime("cpu", show_progress=not options.quiet)
    captioner = written_by(options.caption_url, options.caption_model, runtime) if options.caption_url else None
    ways = Ways(options.jobs, options.ray, options.trigger.strip(), captioner)
    made = make_dataset(options.folder, options.out, settings, ways, runtime)
    logger.info("%s", made.counted())
    for doubt in made.doubts():
        logger.warning("%s", doubt)
    made.check()
    say(made.table)
    say(made.page)


def _settings(options: argparse.Namespace) -> Preparation:
    size = re.fullmatch(r"(\d+)x(\d+)", options.resolution)
    if size is None:
        raise InvalidInputError(f"--resolution is width x height, as 832x480, got '{options.resolution}'.")
    usual = Preparation(
        fps=options.fps,
        longest=options.longest,
        shortest=options.shortest,
        side=options.side,
        resolution=PictureSize(int(size[1]), int(size[2])),
        soft_cuts=options.soft_cuts,
        keep_bars=options.keep_bars,
        measured=tuple(dict.fromkeys(options.measure)),
    )
    return with_filters(usual, options.filter)
