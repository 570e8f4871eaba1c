"""Where the nodes of the example workflows stand: nothing covers another, with room for both renderers and previews."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest

from .layout import SIZES, TITLE, WORKFLOWS, arrange, boxes_of, faults_of, note_height, rough_height
from .wires import lead_around, passed

each_workflow = pytest.mark.parametrize("path", sorted(WORKFLOWS.glob("*.json")), ids=lambda path: path.stem)


@each_workflow
def test_no_node_covers_another_or_sticks_out_of_its_group(path: Path):
    assert faults_of(json.loads(path.read_text(encoding="utf-8")), path.stem) == []


@each_workflow
def test_a_workflow_stands_as_the_layout_puts_it(path: Path):
    """After a change run: python tests/workflows/layout.py"""
    saved = json.loads(path.read_text(encoding="utf-8"))
    placed = copy.deepcopy(saved)
    arrange(placed, path.stem)
    assert placed == saved


@each_workflow
def test_a_node_is_not_lower_than_what_it_holds(path: Path):
    nodes = json.loads(path.read_text(encoding="utf-8"))["nodes"]
    sizes = [(node, SIZES["heights"][node["type"]]["classic"]) for node in nodes if node["type"] != "MarkdownNote"]
    assert [node["type"] for node, height in sizes if node["size"][1] + TITLE < height] == []


def test_an_overlap_and_a_node_outside_of_its_group_are_found():
    nodes = [
        {"type": "WanDirectorLoadVAE", "pos": [16, 76], "size": [300, 82]},
        {"type": "WanDirectorSampler", "pos": [16, 200], "size": [300, 326]},
    ]
    group = {"title": "All", "bounding": [0, 0, 332, 600]}
    assert faults_of({"nodes": nodes, "groups": [group]}, "any") == [
        "WanDirectorSampler covers WanDirectorLoadVAE",
        "WanDirectorSampler sticks out of All",
    ]


@each_workflow
def test_no_wire_passes_behind_a_node(path: Path):
    saved = json.loads(path.read_text(encoding="utf-8"))
    assert passed(saved, boxes_of(saved, path.stem)) == []


@each_workflow
def test_reroute_points_stand_beside_the_nodes(path: Path):
    saved = json.loads(path.read_text(encoding="utf-8"))
    boxes = boxes_of(saved, path.stem).values()
    points = [point["pos"] for point in saved["extra"].get("reroutes", [])]
    on_a_node = [(x, y) for x, y in points for left, top, w, h in boxes if left < x < left + w and top < y < top + h]
    assert on_a_node == []


def test_a_wire_behind_a_node_is_found_and_led_around():
    """Three nodes in a row, and a wire from the first to the last."""
    nodes = [
        {"id": 1, "pos": [0, 30], "size": [300, 100], "outputs": [{"name": "a"}], "inputs": []},
        {"id": 2, "pos": [360, 30], "size": [300, 100], "outputs": [], "inputs": []},
        {"id": 3, "pos": [720, 30], "size": [300, 100], "outputs": [], "inputs": [{"name": "a"}]},
    ]
    workflow = {"nodes": nodes, "groups": [], "links": [[7, 1, 0, 3, 0, "A"]], "extra": {}}
    boxes = {node["id"]: (node["pos"][0], 0, 300, 130) for node in nodes}
    assert passed(workflow, boxes) == [(7, 2)]
    assert lead_around(workflow, boxes)
    assert passed(workflow, boxes) == []
    points = workflow["extra"]["reroutes"]
    assert [point["linkIds"] for point in points] == [[7]] * len(points)
    assert workflow["extra"]["linkExtensions"] == [{"id": 7, "parentId": points[-1]["id"]}]
    no_gap = boxes | {2: (300, 0, 420, 130)}
    assert not lead_around(workflow, no_gap), "where nodes touch there is no way"
    assert "reroutes" not in workflow["extra"]


@each_workflow
def test_a_new_workflow_gets_enough_room_for_its_note_and_nodes(path: Path):
    """What stands in for heights that are not recorded yet is never less than those."""
    nodes = json.loads(path.read_text(encoding="utf-8"))["nodes"]
    (note,) = [node for node in nodes if node["type"] == "MarkdownNote"]
    recorded = SIZES["notes"][path.stem]  # measured in Nodes 2.0, whose notes are the taller ones
    assert recorded <= note_height(note["widgets_values"][0], note["size"][0]) <= recorded + 150
    for node in nodes:
        heights = SIZES["heights"].get(node["type"], {})
        if node["type"] != "LoadImage" and "LoadVideo" not in node["type"]:  # they show their file
            assert rough_height(node) >= max(heights.get("classic", 0), heights.get("nodes_2", 0)), node["type"]


@each_workflow
def test_texts_are_drawn_in_the_first_view(path: Path):
    """The front end leaves out texts lower than 8 pixels, and notes with them: theirs are 14 at scale 1."""
    scale = json.loads(path.read_text(encoding="utf-8"))["extra"]["ds"]["scale"]
    assert 14 * scale >= 8
