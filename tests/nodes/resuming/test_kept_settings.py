"""Where runs are kept, by the environment and the system."""

from __future__ import annotations

from pathlib import Path

import pytest
from wan_director.common.errors import InvalidInputError
from wan_director.engine.films.kept import NO_FILMS_KEPT, FilmsInFolder
from wan_director.engine.resuming.folder import StateFolder
from wan_director.engine.resuming.kept import NO_RUNS_KEPT, RunsInFolder
from wan_director.nodes.hosts.kept_runs import (
    cache_folder,
    kept_films,
    kept_films_or_none,
    kept_runs,
    kept_runs_or_none,
)


def test_the_usual_settings():
    assert kept_runs(Path("usual"), {}) == RunsInFolder(StateFolder(Path("usual"), 7, 8 * 10**9), 20)


def test_the_environment_changes_them():
    environment = {
        "WAN_DIRECTOR_RESUME": "on",
        "WAN_DIRECTOR_RESUME_FOLDER": "/somewhere",
        "WAN_DIRECTOR_RESUME_DAYS": "0.5",
        "WAN_DIRECTOR_RESUME_GB": "2",
        "WAN_DIRECTOR_RESUME_SECONDS": "5",
    }
    assert kept_runs(Path("usual"), environment) == RunsInFolder(StateFolder(Path("/somewhere"), 0.5, 2 * 10**9), 5)


def test_films_have_a_folder_and_bounds_of_their_own():
    usual = StateFolder(Path("usual/films"), 14, 40 * 10**9, "film clip")
    assert kept_films(Path("usual"), {}) == FilmsInFolder(usual)
    environment = {
        "WAN_DIRECTOR_RESUME_FOLDER": "/somewhere",
        "WAN_DIRECTOR_RESUME_DAYS": "0.5",
        "WAN_DIRECTOR_RESUME_FILM_DAYS": "3",
        "WAN_DIRECTOR_RESUME_FILM_GB": "100",
    }
    there = StateFolder(Path("/somewhere/films"), 3, 100 * 10**9, "film clip")
    assert kept_films(Path("usual"), environment) == FilmsInFolder(there)
    assert kept_films(Path("usual"), {"WAN_DIRECTOR_RESUME": "off"}) is NO_FILMS_KEPT


@pytest.mark.parametrize(("name", "value"), [("FILM_GB", "lots"), ("FILM_DAYS", "-1")])
def test_a_bound_of_films_that_means_nothing_is_one_sentence(name, value, caplog):
    environment = {f"WAN_DIRECTOR_RESUME_{name}": value}
    with pytest.raises(InvalidInputError, match=f"WAN_DIRECTOR_RESUME_{name} is '{value}', and is the"):
        kept_films(Path("usual"), environment)
    assert kept_films_or_none(Path("usual"), environment) is NO_FILMS_KEPT
    assert len(caplog.messages) == 1 and "will start anew" in caplog.messages[0]


@pytest.mark.parametrize("word", ["off", "OFF", "0", "false", "no"])
def test_it_can_be_switched_off(word):
    assert kept_runs(Path("usual"), {"WAN_DIRECTOR_RESUME": word}) is NO_RUNS_KEPT


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("RESUME", "maybe", "is 'maybe', and may be on or off"),
        ("RESUME_GB", "lots", "is 'lots', and is the GB .* a number from 0 on, 8 where it is not set"),
        ("RESUME_DAYS", "-1", "is '-1', and is the days"),
        ("RESUME_SECONDS", "inf", "is 'inf', and is the seconds"),
    ],
)
def test_a_value_that_means_nothing_is_one_sentence(name, value, words, caplog):
    environment = {f"WAN_DIRECTOR_{name}": value}
    with pytest.raises(InvalidInputError, match=f"WAN_DIRECTOR_{name} {words}"):
        kept_runs(Path("usual"), environment)
    assert kept_runs_or_none(Path("usual"), environment) is NO_RUNS_KEPT
    assert len(caplog.messages) == 1 and "will start anew" in caplog.messages[0]


def test_the_folder_of_each_system(monkeypatch):
    monkeypatch.setattr(Path, "home", lambda: Path("/home/me"))
    folders = {name: cache_folder({}, name).as_posix() for name in ("linux", "darwin", "win32")}
    assert folders == {
        "linux": "/home/me/.cache/wan-director/runs",
        "darwin": "/home/me/Library/Caches/wan-director/runs",
        "win32": "/home/me/AppData/Local/wan-director/runs",
    }
    assert cache_folder({"XDG_CACHE_HOME": "/cache"}, "linux") == Path("/cache/wan-director/runs")
    assert cache_folder({"LOCALAPPDATA": "/local"}, "win32") == Path("/local/wan-director/runs")
