"""Every example workflow on ComfyUI's real canvas, in a real browser.

Needs playwright and a Chromium (`CHROMIUM_PATH`, or `chromium` on the PATH). Screenshots go to the folder
`WAN_DIRECTOR_SCREENSHOTS`, to be looked at; without it they stay in pytest's temporary folder.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from wan_director import NODE_CLASS_MAPPINGS
from wan_director.nodes.headless.core_nodes import CORE_NODES
from wan_director.nodes.headless.graph import parse_graph
from wan_director.nodes.headless.runner import as_prompt

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / "workflows").glob("*.json"))
CLASSES = {**CORE_NODES, **NODE_CLASS_MAPPINGS}
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
READY = "() => window.app?.graph && window.LiteGraph && 'WanDirectorSampler' in LiteGraph.registered_node_types"
STATE = """() => ({
    nodes: app.graph.nodes.map(node => ({
        type: node.type,
        registered: node.type in LiteGraph.registered_node_types,
        errors: Boolean(node.has_errors),
        box: [...node.getBounding()],
        missing: (node.inputs ?? []).filter(input => input.link == null && !input.widget).map(input => input.name),
    })),
    links: app.graph.links.size,
    warnings: [...document.querySelectorAll('.p-toast-message, .comfy-missing-nodes')].map(e => e.innerText),
})"""


class Loaded(NamedTuple):
    """A workflow as saved, what is on the canvas after loading it, and what the canvas would queue."""

    saved: dict[str, Any]
    state: dict[str, Any]
    queued: dict[str, Any]


@pytest.fixture(scope="module")
def canvas(comfyui) -> Iterator[Any]:
    """A browser page with ComfyUI's frontend; nothing outside the server is loaded."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    chromium = os.environ.get("CHROMIUM_PATH") or shutil.which("chromium") or shutil.which("chromium-browser")
    if not chromium:
        pytest.skip("needs a Chromium: set CHROMIUM_PATH")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        page = browser.new_page(viewport={"width": 1920, "height": 1080})
        page.route(lambda url: not url.startswith((comfyui.url, "data:", "blob:")), lambda route: route.abort())
        page.goto(comfyui.url, wait_until="domcontentloaded", timeout=240_000)
        page.wait_for_function(READY, timeout=240_000)
        yield page
        browser.close()


@pytest.fixture(scope="session")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = os.environ.get("WAN_DIRECTOR_SCREENSHOTS")
    if not folder:
        return tmp_path_factory.mktemp("screenshots")
    Path(folder).mkdir(parents=True, exist_ok=True)
    return Path(folder)


@pytest.fixture(scope="module", params=WORKFLOWS, ids=lambda path: path.stem)
def loaded(canvas, screenshots: Path, request: pytest.FixtureRequest) -> Loaded:
    """One workflow, loaded as the canvas does for its user."""
    path = request.param
    saved = json.loads(path.read_text(encoding="utf-8"))
    canvas.evaluate("async workflow => { await app.loadGraphData(workflow, true, true, null) }", saved)
    canvas.wait_for_timeout(1000)
    canvas.screenshot(path=screenshots / f"{path.stem}.png")
    state = json.loads(canvas.evaluate(f"() => JSON.stringify(({STATE})())"))
    queued = json.loads(canvas.evaluate("async () => JSON.stringify((await app.graphToPrompt()).output)"))
    return Loaded(saved, state, queued)


def optional_inputs(node_type: str) -> set[str]:
    node_class = CLASSES.get(node_type)
    return set(node_class.INPUT_TYPES().get("optional", {})) if node_class else set()


def overlap(a: list[float], b: list[float]) -> bool:
    """Whether two boxes [x, y, width, height] cover each other."""
    return a[0] < b[0] + b[2] and b[0] < a[0] + a[2] and a[1] < b[1] + b[3] and b[1] < a[1] + a[3]


def test_the_workflow_loads_complete(loaded: Loaded):
    assert sorted(node["type"] for node in loaded.state["nodes"]) == sorted(n["type"] for n in loaded.saved["nodes"])
    assert loaded.state["links"] == len(loaded.saved["links"])
    assert loaded.state["warnings"] == []
    for node in loaded.state["nodes"]:
        assert node["registered"] and not node["errors"], node
        assert set(node["missing"]) <= optional_inputs(node["type"]), node


def test_no_node_covers_another(loaded: Loaded):
    nodes = loaded.state["nodes"]
    pairs = [(a["type"], b["type"]) for i, a in enumerate(nodes) for b in nodes[:i] if overlap(a["box"], b["box"])]
    assert pairs == []


def test_the_command_line_reads_it_as_the_canvas_does(loaded: Loaded):
    assert as_prompt(parse_graph(loaded.saved, CLASSES)) == loaded.queued
