"""Every workflow ever released on the canvas of a real ComfyUI: all nodes are there, and it queues its old values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ..released.test_released import WORKFLOWS, filled, name_of
from .test_comfyui_canvas import canvas, load  # noqa: F401  (a fixture)

STATE = """() => ({
    unknown: app.graph.nodes.filter(node => !(node.type in LiteGraph.registered_node_types)).map(node => node.type),
    nodes: app.graph.nodes.length,
    links: app.graph.links.size,
    warnings: [...document.querySelectorAll('.p-toast-message, .comfy-missing-nodes')].map(e => e.innerText),
})"""


@pytest.mark.parametrize("path", WORKFLOWS, ids=name_of)
def test_a_released_workflow_loads_complete_and_queues_its_values(canvas: Any, path: Path):  # noqa: F811
    saved = load(canvas, path)
    assert canvas.evaluate(STATE) == {
        "unknown": [],
        "nodes": len(saved["nodes"]),
        "links": len(saved["links"]),
        "warnings": [],
    }
    queued = canvas.evaluate("async () => (await app.graphToPrompt()).output")
    assert {id: (node["class_type"], node["inputs"]) for id, node in queued.items()} == filled(path)
