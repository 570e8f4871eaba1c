"""Where the nodes of the example workflows stand: nothing covers another, with room for both renderers and previews."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest

from .layout import SIZES, TITLE, WORKFLOWS, arrange, faults_of

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
