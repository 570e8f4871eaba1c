"""Workflow files: both formats are read, values are set by name, and what is wrong gets a sentence."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path

import pytest
from wan_director import NODE_CLASS_MAPPINGS
from wan_director.common.errors import GraphError, MissingFileError, WanDirectorError
from wan_director.nodes.headless.core_nodes import CORE_NODES
from wan_director.nodes.headless.graph import Link, parse_graph, read_graph, set_value

CLASSES = {**CORE_NODES, **NODE_CLASS_MAPPINGS}
FIXTURES = sorted((Path(__file__).parent / "fixtures" / "frontend").glob("*.json"))


def canvas(*nodes: dict, links: list = ()) -> dict:
    return {"version": 0.4, "nodes": list(nodes), "links": list(links)}


def sampler(values: list | dict | None, **changes) -> dict:
    return {"id": 3, "type": "WanDirectorSampler", "mode": 0, "inputs": [], "widgets_values": values, **changes}


VALUES = [7, "randomize", 20, 4.5, 3.0, "euler", "simple", 0.5]
NAMES = ["seed", "steps", "cfg", "shift", "solver", "schedule", "denoise"]


def test_the_value_behind_a_seed_is_what_to_do_with_it():
    expected = dict(zip(NAMES, [VALUES[0], *VALUES[2:]]))
    assert parse_graph(canvas(sampler(VALUES)), CLASSES)["3"].inputs == expected
    without_control = [VALUES[0], *VALUES[2:]]
    assert parse_graph(canvas(sampler(without_control)), CLASSES)["3"].inputs == expected


def test_values_may_be_named_or_missing():
    assert parse_graph(canvas(sampler({"steps": 5, "old": 1})), CLASSES)["3"].inputs == {"steps": 5}
    assert parse_graph(canvas(sampler(VALUES[:3])), CLASSES)["3"].inputs == {"seed": 7, "steps": 20}
    assert parse_graph(canvas(sampler(None)), CLASSES)["3"].inputs == {}


def test_a_wire_to_a_widget_replaces_its_value():
    primitive = {"id": 9, "type": "PrimitiveNode", "widgets_values": [99, "fixed"], "outputs": [{"type": "INT"}]}
    wired = sampler(VALUES, inputs=[{"name": "steps", "type": "INT", "link": 5, "widget": {"name": "steps"}}])
    for link in ([5, 9, 0, 3, 0, "INT"], {"id": 5, "origin_id": 9, "origin_slot": 0, "target_id": 3, "target_slot": 0}):
        assert parse_graph(canvas(primitive, wired, links=[link]), CLASSES)["3"].inputs["steps"] == 99


def test_wrapped_lists_and_wires_of_the_server_format():
    prompt = {"a": {"class_type": "WanDirectorDecode", "inputs": {"vae": ["b", 0], "latent": {"__value__": [1, 2]}}}}
    assert parse_graph(prompt, CLASSES)["a"].inputs == {"vae": Link("b", 0), "latent": [1, 2]}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ([], "is JSON, but no workflow"),
        ({}, "is JSON, but no workflow"),
        ({"1": {"inputs": {}}}, "is JSON, but no workflow"),
        ({"nodes": [{"type": "Note"}]}, r"is damaged \(a node of the workflow has no id\). Save it again"),
        (
            {"1": {"class_type": "WanVideoSampler", "_meta": {"title": "My sampler"}}},
            "Node 1 'My sampler' is a WanVideoSampler, which",
        ),
        (canvas({"id": 4, "type": "VHS_VideoCombine"}), "Node 4 is a VHS_VideoCombine, which"),
        (
            {"1": {"class_type": "FrameInterpolate"}},
            "or replace the node with Wan Save Video, and interpolate its file in ComfyUI.",
        ),
    ],
)
def test_what_is_no_workflow_is_refused(data, words):
    with pytest.raises(GraphError, match=words):
        parse_graph(data, CLASSES)


def test_files_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(MissingFileError, match="no workflow file .*missing.json"):
        read_graph(tmp_path / "missing.json", CLASSES)
    for content in (b"\x89PNG\r\n", b"{", b"\xff\xfe", b"[" * 100_000):
        (tmp_path / "bad.json").write_bytes(content)
        with pytest.raises(GraphError, match="bad.json is no JSON file"):
            read_graph(tmp_path / "bad.json", CLASSES)


def damaged(value: object, chance: random.Random, depth: int = 0) -> object:
    """`value` with some of its parts replaced, dropped or doubled."""
    if chance.random() < 0.02:
        return chance.choice([None, 0, -10, "", [], {}, "Reroute", [1, 2]])
    if isinstance(value, dict):
        return {key: damaged(part, chance) for key, part in value.items() if chance.random() > 0.01}
    if isinstance(value, list):
        return [damaged(part, chance) for part in value if chance.random() > 0.01]
    return value


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.stem)
def test_damaged_workflows_never_crash(path):
    workflow = json.loads(path.read_text(encoding="utf-8"))["workflow"]
    for seed in range(60):
        broken = damaged(copy.deepcopy(workflow), random.Random(seed))
        try:
            parse_graph(broken, CLASSES)
        except WanDirectorError as error:
            assert "\n" not in str(error)


def test_values_are_set_by_id_title_or_class(prompt):
    graph = parse_graph(prompt, CLASSES)
    for assignment in ("6.seed=12", "Sampler.cfg=2.5", "WanDirectorTextEncode.positive=a.b=c", "6.solver=unipc"):
        set_value(graph, CLASSES, assignment)
    assert graph["6"].inputs["seed"] == 12 and graph["6"].inputs["cfg"] == 2.5
    assert graph["6"].inputs["solver"] == "unipc"
    assert graph["4"].inputs["positive"] == "a.b=c"


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("seed=1", "sets nothing. Write NODE.INPUT=VALUE"),
        ("6.seed", "sets nothing"),
        ("9.seed=1", r"no node '9'. It has: 1 \(WanDirectorLoadModel\), 2"),
        ("6.model=x", "has no value 'model' to set. It has: seed, steps"),
        ("6.speed=1", r"Sampler \(node 6\) has no value 'speed'"),
        ("6.steps=many", "steps of Sampler .node 6. must be a whole number, got 'many'"),
        ("6.cfg=high", "must be a number, got 'high'"),
    ],
)
def test_wrong_assignments_are_refused(prompt, assignment, words):
    with pytest.raises(GraphError, match=words):
        set_value(parse_graph(prompt, CLASSES), CLASSES, assignment)


def test_an_ambiguous_name_lists_the_ids(prompt):
    prompt["9"] = prompt["6"]
    with pytest.raises(GraphError, match="2 nodes are called 'Sampler'. Use the id of one of them: 6, 9"):
        set_value(parse_graph(prompt, CLASSES), CLASSES, "Sampler.seed=1")
