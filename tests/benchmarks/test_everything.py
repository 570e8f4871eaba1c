"""The page of all measures: each part is there, and one that fails is said to have failed."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
from wan_director.benchmarks import everything
from wan_director.benchmarks.everything import Part, main, measured, parts


def test_every_part_is_a_command_of_the_benchmarks():
    named = parts("HEAD", "python", "model.safetensors")
    assert all(find_spec(f"wan_director.benchmarks.{part.name}") for part in named)
    assert [part.name for part in parts("HEAD", None, None)] == [part.name for part in named[:-1]]


def test_a_part_that_fails_is_said_to_have_failed_and_the_others_go_on(monkeypatch, capsys: pytest.CaptureFixture[str]):
    found = {"lean": (True, "| 0.97 |"), "quantised": (False, "Failed with exit code 3:\n\nno memory")}
    monkeypatch.setattr(everything, "measured", lambda part: found[part.name])
    assert main(["HEAD", "--only", "lean", "quantised"]) == 1
    assert main(["HEAD", "--only", "lean"]) == 0
    told = capsys.readouterr().out
    assert told.count("## lean") == 2 and "exit code 3" in told


def test_what_a_command_complains_of_is_kept():
    is_well, said = measured(Part("autoencoder", ("--no-such-option",)))
    assert not is_well and "exit code 2" in said and "no-such-option" in said
