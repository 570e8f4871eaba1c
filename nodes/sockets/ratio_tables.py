"""Recorded figures of a model for its step cache: files of JSON in the output folder."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

from ...common.errors import InvalidInputError, MissingFileError, WanDirectorError
from ...common.log import logger
from ...dit.config import DiTConfig
from ...media.place import SavePlace
from ..hosts.host import host

_KIND = "wan_director.magnitude_ratios"
_LARGEST_BYTES = 1 << 20


def write_ratios(ratios: tuple[float, ...], place: Callable[[], SavePlace], config: DiTConfig) -> None:
    """Writes a new file, and says in the log where it is; if that fails, says the figures, for the run is worth more.

    Args:
        ratios: one a step, see `sampling.cache.MagnitudeRatios`.
        place: where the next file goes.
        config: of the model they are of.
    """
    content = json.dumps({"kind": _KIND, **_form(config), "ratios": [round(ratio, 5) for ratio in ratios]})
    try:
        free = place()
        path = free.folder / f"{free.name}_{free.counter:05}_.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    except (OSError, WanDirectorError) as error:
        logger.warning(
            "The figures of this run could not be written (%s). Put this into a file that ends in .json: %s",
            error,
            content,
        )
        return
    logger.info(
        "The figures of %d steps are in %s. Choose magcache with this table in Wan Step Cache.", len(ratios), path
    )


def read_ratios(name: str, config: DiTConfig) -> tuple[float, ...]:
    """Those of a file: a path, or a name in the input folder; `NAME [output]` for one in the output folder.

    Raises:
        MissingFileError: there is no such file.
        InvalidInputError: it is no such file, or one of a model of another form.
    """
    path = host().input_file(name)
    if not os.path.isfile(path):  # in a plan, too, which cannot guess the figures
        raise MissingFileError(
            f"There is no table {name}. Give the path that the log named after a run with the method record."
        )
    try:
        with path.open("rb") as file:
            content: Any = json.loads(file.read(_LARGEST_BYTES))
        ratios = tuple(float(ratio) for ratio in content["ratios"])
        form = {key: content[key] for key in _form(config)}
        is_ours = content["kind"] == _KIND
    except (ValueError, TypeError, KeyError, OSError):
        ratios, form, is_ours = (), {}, False
    if not is_ours or not ratios:
        raise InvalidInputError(
            f"{path.name} is no table of a step cache. Give the file that the log named after a run with the method "
            "record."
        )
    if form != _form(config):
        raise InvalidInputError(
            f"{path.name} was recorded with a model of {_words(form)}, and this one has {_words(_form(config))}. "
            "Record a table with this model."
        )
    return ratios


def _form(config: DiTConfig) -> dict[str, int]:
    return {"width": config.dim, "blocks": config.layers, "channels": config.in_channels}


def _words(form: dict[str, int]) -> str:
    return f"{form['blocks']} blocks of width {form['width']} and {form['channels']} input channels"
