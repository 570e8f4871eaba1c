"""`prepare`: clips to train on, of a folder of videos."""

from __future__ import annotations

import argparse
import re

from .....common.errors import InvalidInputError
from .....common.log import logger
from .....common.shapes import PictureSize
from .....engine.local import LocalRuntime
from .....tuning.preparation.captions import written_by
from .....tuning.preparation.packages import say_which_opencv, scene_detection, soft_cut_network
from .....tuning.preparation.prepare import Ways, prepare
from .....tuning.preparation.results.dataset import TOML
from .....tuning.preparation.results.records import PreparedClips
from .....tuning.preparation.results.report import write_report
from .....tuning.preparation.scores.optional import check_package
from .....tuning.preparation.settings import Preparation, with_filters
from ..session import Session
from ..terminal import say


def prepare_clips(options: argparse.Namespace, _session: Session) -> None:
    """Prepares a folder, and prints the paths of the dataset's file and of the report."""
    settings = _settings(options)
    scene_detection()
    say_which_opencv()
    if settings.soft_cuts:
        soft_cut_network()
    for name in settings.measured:
        check_package(name)
    runtime = LocalRuntime("cpu", show_progress=not options.quiet)
    captioner = written_by(options.caption_url, options.caption_model, runtime) if options.caption_url else None
    ways = Ways(options.jobs, options.ray, options.trigger.strip(), captioner)
    prepared = prepare(options.folder, options.out, settings, ways, runtime)
    page = write_report(prepared, options.out)
    _tell(prepared, ways.trigger)
    if not prepared.kept:
        raise InvalidInputError(
            f"None of {len(prepared.clips)} clips is kept. Look into {page} for the reasons, and widen the filters."
        )
    say(options.out / TOML)
    say(page)


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


def _tell(prepared: PreparedClips, trigger: str) -> None:
    for refused in prepared.refused:
        logger.warning("%s", refused.told())
    reasons = ", ".join(f"{word} {count}" for word, count in prepared.reasons().items())
    dropped = f"; dropped for: {reasons}" if reasons else ""
    logger.info("%d of %d clips are kept%s.", len(prepared.kept), len(prepared.clips), dropped)
    silent = sum(clip.caption in ("", trigger) for clip in prepared.kept)
    if silent:
        logger.warning(
            "%d %s no caption%s. Write it into the .txt file beside the clip, give the video one, or name a model with "
            "--caption-url.",
            silent,
            "clip has" if silent == 1 else "clips have",
            " but the trigger" if trigger else "",
        )
