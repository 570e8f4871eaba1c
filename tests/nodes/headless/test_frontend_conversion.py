"""Canvas format to API format: what ComfyUI's frontend 1.27.10 queued for the same graphs is the reference.

Each fixture holds a graph as the canvas saves it and the prompt that the canvas sends to the server for it.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from wan_director import NODE_CLASS_MAPPINGS
from wan_director.nodes.headless.core_nodes import CORE_NODES
from wan_director.nodes.headless.graph import parse_graph
from wan_director.nodes.headless.runner import as_prompt

FIXTURES = sorted((Path(__file__).parent / "fixtures" / "frontend").glob("*.json"))
CLASSES = {**CORE_NODES, **NODE_CLASS_MAPPINGS}


def test_the_fixtures_cover_what_a_canvas_can_do():
    assert {path.stem for path in FIXTURES} == {
        "bypassed_nodes", "muted_branch", "nested_subgraphs", "own_widget_values", "primitives", "reroutes", "subgraph",
    }  # fmt: skip


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.stem)
def test_conversion_equals_the_frontends(path: Path):
    fixture = json.loads(path.read_text(encoding="utf-8"))
    assert as_prompt(parse_graph(fixture["workflow"], CLASSES)) == fixture["prompt"]


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.stem)
def test_api_format_comes_back_unchanged(path: Path):
    prompt = json.loads(path.read_text(encoding="utf-8"))["prompt"]
    assert as_prompt(parse_graph(prompt, CLASSES)) == prompt
