"""Every workflow ever released reads as it did, is taken by today's nodes, and bundled ones give the same frames."""

from __future__ import annotations

import copy
import inspect
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from wan_director import NODE_CLASS_MAPPINGS
from wan_director.__main__ import main
from wan_director.nodes.headless.core_nodes import CORE_NODES
from wan_director.nodes.headless.graph import parse_graph
from wan_director.nodes.headless.runner import as_prompt

from . import record
from .record import EVERY, ROOT, frames_of, kept_frames, releases, todays_interface, widgets, workflow_files

CLASSES = {**CORE_NODES, **NODE_CLASS_MAPPINGS}
WORKFLOWS = [path for folder in releases() for path in workflow_files(folder)]
TINY = [path for path in WORKFLOWS if path.stem.startswith("tiny")]
OTHER_FRAMES = {
    "0.1.0.dev1": "the bundled models were trained further after it",
    "0.1.0.dev2": "the bundled models were trained further after it",
    "0.1.0.dev4": "the bundled models learned single pictures after it",
}
"""Releases whose frames are others today, and why: their bundled workflows only run."""


def name_of(path: Path) -> str:
    return f"{path.parent.name}-{path.stem}"


each_release = pytest.mark.parametrize("folder", releases(), ids=lambda folder: folder.name)
each_workflow = pytest.mark.parametrize("path", WORKFLOWS, ids=name_of)


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def twin(path: Path) -> Path:
    return path.parent / "api" / path.name


def broken(released: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What of a released interface is not kept."""
    kept = [id for id in released if id in now]
    faults = [f"{id} is gone" for id in released if id not in now]
    for id in kept:
        faults += [f"{id}: {fault}" for fault in _broken_node(released[id], now[id])]
    return faults


def _broken_node(released: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    before, after = released["inputs"], now["inputs"]
    faults = [f"{name} is gone" for name in before if name not in after]
    faults += [f"{name} is new and required" for name in after if name not in before and "optional" not in after[name]]
    faults += [
        f"{name}: {fault}" for name in before if name in after for fault in _broken_input(before[name], after[name])
    ]
    if widgets(now)[: len(widgets(released))] != widgets(released):
        faults.append("its widgets are in another order")
    if [name for name in after if name in before] != list(before):
        faults.append("its inputs are in another order")
    if now["outputs"][: len(released["outputs"])] != released["outputs"]:
        faults.append("its outputs are others")
    if now["output_node"] is not released["output_node"]:
        faults.append("it is an end of a graph, or is it no longer")
    return faults


def _broken_input(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    faults = [
        f"its {key} is {after.get(key)!r}, was {before.get(key)!r}"
        for key in ("type", "default", "control_after_generate")
        if before.get(key) != after.get(key)
    ]
    if "optional" in before and "optional" not in after:
        faults.append("it is required now")
    lost = [choice for choice in before.get("choices", []) if choice not in after.get("choices", [])]
    faults += [f"choice {choice!r} is gone" for choice in lost]
    if after.get("min", 0) > before.get("min", 0) or after.get("max", 0) < before.get("max", 0):
        faults.append("its range is narrower")
    if after.get("round", 0) > before.get("round", 0):
        faults.append("it is rounded more")
    return faults


@each_release
def test_what_was_released_of_the_nodes_is_kept(folder: Path):
    assert broken(read(folder / "interface.json"), todays_interface()) == []


NODE = {
    "inputs": {
        "model": {"type": "MODEL"},
        "steps": {"type": "INT", "default": 1, "min": 1, "max": 9},
        "how": {"type": "COMBO", "default": "a", "choices": ["a", "b"], "optional": True},
    },
    "outputs": [["MODEL", "model"]],
    "output_node": False,
}


@pytest.mark.parametrize(
    ("place", "value", "says"),
    [
        (("inputs", "steps"), None, "steps is gone"),
        (("inputs", "more"), {"type": "INT"}, "more is new and required"),
        (("inputs", "steps", "type"), "FLOAT", "steps: its type is 'FLOAT', was 'INT'"),
        (("inputs", "steps", "default"), 2, "steps: its default is 2, was 1"),
        (("inputs", "steps", "max"), 8, "steps: its range is narrower"),
        (("inputs", "steps", "min"), 2, "steps: its range is narrower"),
        (("inputs", "steps", "round"), 2, "steps: it is rounded more"),
        (("inputs", "steps", "control_after_generate"), True, "its widgets are in another order"),
        (("inputs", "how", "choices"), ["a"], "how: choice 'b' is gone"),
        (("inputs", "how", "optional"), None, "how: it is required now"),
        (("outputs",), [["INT", "steps"], ["MODEL", "model"]], "its outputs are others"),
        (("output_node",), True, "it is an end of a graph"),
    ],
)
def test_a_change_that_breaks_saved_graphs_is_found(place: tuple[str, ...], value: Any, says: str):
    now = copy.deepcopy(NODE)
    holder = now
    for key in place[:-1]:
        holder = holder[key]
    if value is None:
        del holder[place[-1]]
    else:
        holder[place[-1]] = value
    assert any(f"Node: {says}" in fault for fault in broken({"Node": NODE}, {"Node": now}))
    assert broken({"Node": NODE}, {"Node": NODE}) == []


def test_what_is_appended_breaks_nothing_and_what_is_put_in_between_does():
    new = {"more": {"type": "FLOAT", "optional": True}}
    inputs = NODE["inputs"]
    appended = {**NODE, "inputs": {**inputs, **new}, "outputs": [*NODE["outputs"], ["INT", "count"]]}
    assert broken({"Node": NODE}, {"Node": appended}) == []
    between = {**NODE, "inputs": {"model": inputs["model"], **new, **inputs}}
    assert broken({"Node": NODE}, {"Node": between}) == ["Node: its widgets are in another order"]
    turned = {**NODE, "inputs": dict(reversed(inputs.items()))}
    assert "Node: its inputs are in another order" in broken({"Node": NODE}, {"Node": turned})


@each_workflow
def test_it_converts_to_the_prompt_that_was_released_with_it(path: Path):
    assert as_prompt(parse_graph(read(path), CLASSES)) == read(twin(path))


@each_workflow
def test_its_nodes_are_saved_as_the_interface_of_its_time_says(path: Path):
    """So that the recorded interfaces are those of the files."""
    recorded = read(path.parent / "interface.json")
    for node in read(path)["nodes"]:
        if node["type"] in recorded:
            told = recorded[node["type"]]
            assert len(node["widgets_values"]) == len(widgets(told)), node["type"]
            assert [each["name"] for each in node["outputs"]] == [name for _, name in told["outputs"]]
            assert {each["name"] for each in node["inputs"]} - {"upload"} <= set(told["inputs"])


@each_workflow
def test_todays_nodes_take_it(path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["plan", str(path), "--vram", "1000GB"]) == 0, capsys.readouterr().err


def filled(path: Path) -> dict[str, Any]:
    """The values of a workflow by node, with today's defaults where it was saved before an input was there."""
    now = todays_interface()
    defaults = {
        id: {name: spec["default"] for name, spec in node["inputs"].items() if "default" in spec}
        for id, node in now.items()
    }
    prompt = read(twin(path))
    return {
        id: (node["class_type"], defaults.get(node["class_type"], {}) | node["inputs"]) for id, node in prompt.items()
    }


def same_run_later(path: Path) -> Path | None:
    """The same workflow in a later release, if it comes to the same run."""
    later = [each for each in TINY if each.name == path.name and TINY.index(each) > TINY.index(path)]
    return next((each for each in reversed(later) if filled(each) == filled(path)), None)


def released_frames(path: Path) -> np.ndarray:
    return kept_frames(path.parent / "frames" / f"{path.stem}.png").astype(int)


def test_an_input_that_a_saved_graph_lacks_has_its_default():
    """What the nodes take for it is what the interface says, which the canvas fills in."""
    for id, node in todays_interface().items():
        parameters = inspect.signature(NODE_CLASS_MAPPINGS[id].execute).parameters
        told = {
            name: spec["default"] for name, spec in node["inputs"].items() if "optional" in spec and "default" in spec
        }
        assert {name: parameters[name].default for name in told} == told, id


@pytest.mark.parametrize("path", TINY, ids=name_of)
def test_it_gives_the_frames_of_its_release(path: Path):
    """To the rounding of a pixel, which other processors do otherwise; on one machine all were equal to the bit."""
    later = same_run_later(path)
    if path.parent.name in OTHER_FRAMES:
        if later is None:
            settings = [f"--set={id}.steps=2" for id, node in read(twin(path)).items() if "steps" in node["inputs"]]
            assert frames_of(path, *settings).std() > 1
    else:
        now = frames_of(path)[::EVERY] if later is None else released_frames(later)
        assert np.abs(now - released_frames(path)).max() <= 1


def test_a_version_of_the_changelog_is_recorded():
    assert record.not_recorded((ROOT / "CHANGELOG.md").read_text(encoding="utf-8")) == []
    text = "# Changelog\n## Unreleased\n## 99.1.0 (2030-01-01)\n### Added\n## 0.1.0.dev4\n"
    assert record.not_recorded(text) == ["99.1.0"]


def test_a_released_workflow_keeps_its_name():
    assert {path.name for path in WORKFLOWS} <= {path.name for path in (ROOT / "workflows").glob("*.json")}


def test_a_release_that_is_there_is_not_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    newest = releases()[-1]
    shutil.copytree(newest, tmp_path / newest.name)
    monkeypatch.setattr(record, "FOLDER", tmp_path)
    with pytest.raises(SystemExit, match="a release is never changed"):
        record.add(newest.name)
    with pytest.raises(SystemExit, match="is no version"):
        record.add("../elsewhere")
