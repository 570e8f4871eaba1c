"""Where a host keeps runs and films that were broken off, and for how long: by the environment, or else as usual."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from ...common.errors import InvalidInputError
from ...common.log import logger
from ...engine.films import kept as films
from ...engine.films.kept import NO_FILMS_KEPT, FilmsInFolder, KeptFilms
from ...engine.resuming.folder import DAYS, LIMIT_BYTES, StateFolder
from ...engine.resuming.kept import COST, EVERY_S, NO_RUNS_KEPT, KeptRuns, RunsInFolder

SWITCH, FOLDER = "WAN_DIRECTOR_RESUME", "WAN_DIRECTOR_RESUME_FOLDER"
LONGEST, MOST, EVERY = "WAN_DIRECTOR_RESUME_DAYS", "WAN_DIRECTOR_RESUME_GB", "WAN_DIRECTOR_RESUME_SECONDS"
FILM_LONGEST, FILM_MOST = "WAN_DIRECTOR_RESUME_FILM_DAYS", "WAN_DIRECTOR_RESUME_FILM_GB"
_ON, _OFF = ("", "on", "1", "true", "yes"), ("off", "0", "false", "no")
_GB = 10**9


def kept_runs(
    folder: Path, environment: Mapping[str, str] = os.environ, *, keeps_ended: bool = False, cost: float = COST
) -> KeptRuns:
    """What the variables of the environment say.

    Args:
        folder: the usual one.
        environment: see `SWITCH` and the other names.
        keeps_ended, cost: see `RunsInFolder`.

    Raises:
        InvalidInputError: one of them has a value that means nothing.
    """
    is_on, place = _is_on(environment), _place(environment, folder)
    days = _number(environment, LONGEST, DAYS, "days that a run is kept")
    size = _number(environment, MOST, LIMIT_BYTES / _GB, "GB that all kept runs may take together")
    every = _number(environment, EVERY, EVERY_S, "seconds between two states that are saved, at least")
    states = StateFolder(place, days, round(size * _GB))
    return RunsInFolder(states, every, keeps_ended, cost) if is_on else NO_RUNS_KEPT


def kept_films(folder: Path, environment: Mapping[str, str] = os.environ) -> KeptFilms:
    """As `kept_runs`, for the finished clips of films, in a folder of their own inside that of the runs."""
    is_on, place = _is_on(environment), _place(environment, folder) / "films"
    days = _number(environment, FILM_LONGEST, films.DAYS, "days that a clip of a film is kept")
    size = _number(environment, FILM_MOST, films.LIMIT_BYTES / _GB, "GB that the kept clips of all films may take")
    states = StateFolder(place, days, round(size * _GB), title="film clip")
    return FilmsInFolder(states) if is_on else NO_FILMS_KEPT


def kept_runs_or_none(folder: Path, environment: Mapping[str, str] = os.environ) -> KeptRuns:
    """As `kept_runs`, for a host that is not to end with a refusal: then nothing is kept, which is said."""
    try:
        return kept_runs(folder, environment)
    except InvalidInputError as error:
        logger.warning("Runs that are broken off will start anew. %s", error)
        return NO_RUNS_KEPT


def kept_films_or_none(folder: Path, environment: Mapping[str, str] = os.environ) -> KeptFilms:
    """As `kept_films`, for a host that is not to end with a refusal."""
    try:
        return kept_films(folder, environment)
    except InvalidInputError as error:
        logger.warning("Films that are broken off will start anew. %s", error)
        return NO_FILMS_KEPT


def cache_folder(environment: Mapping[str, str] = os.environ, platform: str = sys.platform) -> Path:
    """Where this system has what a program keeps for itself, outlives it, and can be done without."""
    home = Path.home()
    if platform == "win32":
        base = environment.get("LOCALAPPDATA") or home / "AppData" / "Local"
    elif platform == "darwin":
        base = home / "Library" / "Caches"
    else:
        base = environment.get("XDG_CACHE_HOME") or home / ".cache"
    return Path(base) / "wan-director" / "runs"


def _is_on(environment: Mapping[str, str]) -> bool:
    switch = environment.get(SWITCH, "").strip().lower()
    if switch not in (*_ON, *_OFF):
        raise InvalidInputError(f"{SWITCH} is '{switch}', and may be on or off. Set it to one of them, or not at all.")
    return switch in _ON


def _place(environment: Mapping[str, str], usual: Path) -> Path:
    place = environment.get(FOLDER, "").strip()
    return Path(place).expanduser() if place else usual


def _number(environment: Mapping[str, str], name: str, usual: float, meaning: str) -> float:
    text = environment.get(name, "").strip()
    try:
        number = float(text) if text else usual
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise InvalidInputError(
            f"{name} is '{text}', and is the {meaning}: a number from 0 on, {usual:g} where it is not set. Change it, "
            "or leave it out."
        )
    return number
