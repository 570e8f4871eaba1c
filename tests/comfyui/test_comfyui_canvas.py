"""Every example workflow on ComfyUI's real canvas, in a real browser, in both of its renderers.

Needs playwright and a Chromium (`CHROMIUM_PATH`, or `chromium` on the PATH). Screenshots go to the folder
`WAN_DIRECTOR_SCREENSHOTS`, to be looked at; without it they stay in pytest's temporary folder.
"""

from __future__ import annotations

import json
import os
import shutil
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from wan_director import NODE_CLASS_MAPPINGS
from wan_director.nodes.headless.core_nodes import CORE_NODES
from wan_director.nodes.headless.graph import parse_graph
from wan_director.nodes.headless.runner import as_prompt

from ..workflows.layout import SIZES, height_of, is_inside, overlap

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / "workflows").glob("*.json"))
BUNDLED = [path.stem for path in WORKFLOWS if path.stem.startswith("tiny_")]
CLASSES = {**CORE_NODES, **NODE_CLASS_MAPPINGS}
INPUTS_ADDED_LATER = {"CreateVideo": ("bit_depth",)}
"""By ComfyUI to its own nodes, after the oldest that is tested: it leaves them out."""
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
RENDERERS = {"classic": False, "nodes_2": True}
STATE = """() => ({
    nodes: app.graph.nodes.map(node => ({
        id: Number(node.id),
        type: node.type,
        registered: node.type in LiteGraph.registered_node_types,
        errors: Boolean(node.has_errors),
        box: [...node.getBounding()],
        missing: (node.inputs ?? []).filter(input => input.link == null && !input.widget).map(input => input.name),
    })),
    groups: app.graph.groups.map(group => [...group._bounding]),
    links: app.graph.links.size,
    warnings: [...document.querySelectorAll('.p-toast-message, .comfy-missing-nodes')].map(e => e.innerText),
})"""


CONTRASTS = """() => {
    const light = channel => channel <= 0.03928 ? channel / 12.92 : ((channel + 0.055) / 1.055) ** 2.4;
    const numbers = colour => colour.match(/[\\d.]+/g).map(Number);
    const luminance = colour => {
        const [r, g, b] = numbers(colour).map(value => light(value / 255));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ground = element => {
        const colour = getComputedStyle(element).backgroundColor;
        return numbers(colour)[3] === 0 ? ground(element.parentElement) : colour;
    };
    const note = app.graph.nodes.find(node => node.type === 'MarkdownNote');
    const element = document.querySelector(`[data-node-id="${note.id}"]`) ?? note.widgets[0].element;
    return [...element.querySelectorAll('p, h2, h3, a, td, th, strong')].map(text => {
        const [a, b] = [luminance(getComputedStyle(text).color), luminance(ground(text))];
        return [text.tagName, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)];
    });
}"""
# For each wire, the nodes in which its drawn path lies: apart from the edges, where it ends in its own two.
WIRES = """() => {
    const context = document.createElement('canvas').getContext('2d');
    context.lineWidth = 8;
    const found = [];
    for (const link of app.graph.links.values()) {
        const [source, target] = [link.origin_id, link.target_id].map(id => app.graph.getNodeById(id));
        const through = [];
        for (let id = link.parentId; id != null; id = through[0].parentId) through.unshift(app.graph.reroutes.get(id));
        const ends = [source.getOutputPos(link.origin_slot), target.getInputPos(link.target_slot)];
        const points = [ends[0], ...through.map(reroute => reroute.pos), ends[1]];
        [...through, link].forEach(({path}, piece) => {
            if (!(path instanceof Path2D)) found.push(['not drawn', link.id]);
            const [[x0, y0], [x1, y1]] = [points[piece], points[piece + 1]];
            const room = Math.hypot(x1 - x0, y1 - y0) / 4 + 20;
            for (const node of app.graph.nodes) {
                const [x, y, width, height] = node.getBounding();
                const edge = [source, target].includes(node) ? 16 : 4;
                const left = Math.max(x + edge, Math.min(x0, x1) - room);
                const right = Math.min(x + width - edge, Math.max(x0, x1) + room);
                const bottom = Math.min(y + height - edge, Math.max(y0, y1) + room);
                let isBehind = false;
                for (let px = left; px < right && !isBehind; px += 6)
                    for (let py = Math.max(y + edge, Math.min(y0, y1) - room); py < bottom && !isBehind; py += 6)
                        isBehind = context.isPointInStroke(path, px, py);
                if (isBehind) found.push([source.title, target.title, 'behind', node.title]);
            }
        });
    }
    return found;
}"""
# Shows the whole graph: what lies outside the view is not drawn.
WHOLE = """() => {
    const boxes = app.graph.nodes.map(node => node.getBounding());
    const [left, top] = [0, 1].map(side => Math.min(...boxes.map(box => box[side])));
    const [right, bottom] = [0, 1].map(side => Math.max(...boxes.map(box => box[side] + box[side + 2])));
    const {canvas, ds} = app.canvas;
    const room = 100;
    const [wide, high] = [right - left + 2 * room, bottom - top + 2 * room];
    ds.scale = Math.min(canvas.clientWidth / wide, canvas.clientHeight / high);
    ds.offset = [room - left, room - top];
    app.canvas.setDirty(true, true);
}"""
SHOWN = """() => [...document.querySelectorAll('video')].map(video => [video.videoWidth, video.videoHeight])"""
# How far each video plays on within a second or two, as a user sees it who presses play; those of a second begin again.
PLAYED = """async () => {
    const played = [];
    for (const video of document.querySelectorAll('video')) {
        video.muted = true;
        await video.play();
        const times = new Set();
        for (let look = 0; look < 20; look += 1) {
            times.add(video.currentTime);
            await new Promise(done => setTimeout(done, 100));
        }
        played.push(video.error === null ? times.size : 0);
    }
    return played;
}"""


class Loaded(NamedTuple):
    """A workflow as saved, what is on the canvas after loading it, and what the canvas would queue."""

    name: str
    renderer: str
    saved: dict[str, Any]
    state: dict[str, Any]
    queued: dict[str, Any]


def visit(page, url: str) -> None:
    """Loads ComfyUI's page, also once more."""
    page.goto(url, wait_until="domcontentloaded", timeout=240_000)
    page.wait_for_function(READY, timeout=240_000)
    page.wait_for_timeout(2000)


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
        visit(page, comfyui.url)
        yield page
        browser.close()


@pytest.fixture(scope="session")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = os.environ.get("WAN_DIRECTOR_SCREENSHOTS")
    if not folder:
        return tmp_path_factory.mktemp("screenshots")
    Path(folder).mkdir(parents=True, exist_ok=True)
    return Path(folder)


@pytest.fixture(scope="module", params=RENDERERS)
def renderer(canvas, request: pytest.FixtureRequest) -> str:
    """The canvas draws its nodes itself ("classic"), or as elements of the page ("nodes_2"), which not all can."""
    setting = "Comfy.VueNodes.Enabled"
    # Early front ends hide the setting: what they would draw was not finished.
    offered = "setting => (app.ui.settings.settingsLookup[setting]?.type ?? 'hidden') !== 'hidden'"
    is_offered = canvas.evaluate(offered, setting)
    if RENDERERS[request.param] and not is_offered:
        pytest.skip("this front end has no Nodes 2.0")
    if is_offered:
        change = "async ([name, on]) => app.extensionManager.setting.set(name, on)"
        canvas.evaluate(change, [setting, RENDERERS[request.param]])
        canvas.wait_for_timeout(1000)
    return request.param


def load(canvas, path: Path) -> dict[str, Any]:
    """Loads a workflow as the canvas does for its user; gives it as saved."""
    saved = json.loads(path.read_text(encoding="utf-8"))
    canvas.evaluate("async workflow => { await app.loadGraphData(workflow, true, true, null) }", saved)
    canvas.wait_for_timeout(1500)
    return saved


def state_of(canvas) -> dict[str, Any]:
    """What is on the canvas."""
    return json.loads(canvas.evaluate(f"() => JSON.stringify(({STATE})())"))


@pytest.fixture(scope="module", params=WORKFLOWS, ids=lambda path: path.stem)
def loaded(canvas, renderer: str, screenshots: Path, request: pytest.FixtureRequest) -> Loaded:
    """One workflow on the canvas."""
    path = request.param
    saved = load(canvas, path)
    canvas.screenshot(path=screenshots / f"{path.stem}_{renderer}.png")
    queued = json.loads(canvas.evaluate("async () => JSON.stringify((await app.graphToPrompt()).output)"))
    return Loaded(path.stem, renderer, saved, state_of(canvas), queued)


def run(canvas, comfyui, look: Callable[[], object] = lambda: None) -> dict[str, Any]:
    """Presses the Run button and looks until the run ends; gives the server's record of it. One that takes over six
    minutes is ended, so that the next one does not wait for it."""
    done = set(comfyui.get_json("/history"))
    canvas.get_by_role("button", name="Run", exact=True).first.click()
    for _ in range(1800):
        canvas.wait_for_timeout(200)
        look()
        if new := set(comfyui.get_json("/history")) - done:
            canvas.wait_for_timeout(2000)
            return comfyui.get_json("/history")[new.pop()]
    urllib.request.urlopen(urllib.request.Request(comfyui.url + "/interrupt", b""), timeout=60).close()
    raise TimeoutError("the run does not end")


def optional_inputs(node_type: str) -> set[str]:
    node_class = CLASSES.get(node_type)
    return set(node_class.INPUT_TYPES().get("optional", {})) if node_class else set()


def covered(state: dict[str, Any]) -> list[tuple[str, str]]:
    """Pairs of nodes that cover each other."""
    nodes = state["nodes"]
    return [(a["type"], b["type"]) for i, a in enumerate(nodes) for b in nodes[:i] if overlap(a["box"], b["box"])]


def sticking_out(state: dict[str, Any]) -> list[str]:
    """Nodes that begin in a group and do not end in it."""
    out = []
    for node in state["nodes"]:
        x, y, width, height = node["box"]
        for left, top, wide, high in state["groups"]:
            if (
                left <= x <= left + wide
                and top <= y <= top + high
                and (x + width > left + wide or y + height > top + high)
            ):
                out.append(node["type"])
    return out


def test_the_workflow_loads_complete(loaded: Loaded):
    assert sorted(node["type"] for node in loaded.state["nodes"]) == sorted(n["type"] for n in loaded.saved["nodes"])
    assert loaded.state["links"] == len(loaded.saved["links"])
    assert loaded.state["warnings"] == []
    # Newer front ends mark the loaders whose file is to be downloaded or chosen first.
    missing = {
        node["id"]
        for node in loaded.saved["nodes"]
        if node["properties"].get("models") or node["type"] in ("WanDirectorLoadVideo", "LoadAudio")
    }
    for node in loaded.state["nodes"]:
        assert node["registered"], node
        assert not node["errors"] or node["id"] in missing, node
        assert set(node["missing"]) <= optional_inputs(node["type"]), node


def test_no_node_covers_another(loaded: Loaded):
    assert covered(loaded.state) == []


def test_groups_hold_their_nodes(loaded: Loaded):
    assert sticking_out(loaded.state) == []
    inside = [any(is_inside(node, group) for group in loaded.saved["groups"]) for node in loaded.saved["nodes"]]
    assert inside.count(False) == 1, "only the note stands beside the groups"


def test_nodes_are_no_taller_than_their_recorded_room(loaded: Loaded):
    rooms = {node["id"]: height_of(node, loaded.name) for node in loaded.saved["nodes"]}
    taller = [node for node in loaded.state["nodes"] if node["box"][3] > rooms[node["id"]]]
    assert taller == [], SIZES["measured"]


def test_notes_can_be_read(canvas, loaded: Loaded):
    told = canvas.evaluate(CONTRASTS)
    assert told and [(tag, round(contrast, 2)) for tag, contrast in told if contrast < 4.5] == []


def test_no_wire_passes_behind_a_node(canvas, loaded: Loaded):
    canvas.evaluate(WHOLE)
    canvas.wait_for_timeout(500)
    assert canvas.evaluate(WIRES) == []


LARGER = {"tiny_upscale": 2, "tiny_tiles": 2}
"""Workflows that make a clip so many times larger than its first size."""


def size_of(saved: dict[str, Any]) -> list[int]:
    """Width and height of the video that a workflow makes."""
    node = next(
        n
        for n in saved["nodes"]
        if n["type"]
        in ("WanDirectorEmptyLatent", "WanDirectorLongVideo", "WanDirectorBatchPrompts", "WanDirectorInfiniteTalk")
    )
    named = [each["name"] for each in node["inputs"] if "widget" in each]
    return [node["widgets_values"][named.index(side)] for side in ("width", "height")]


@pytest.mark.parametrize("name", BUNDLED)
def test_the_run_button_plays_the_video_and_covers_nothing(
    canvas, comfyui, renderer: str, screenshots: Path, name: str
):
    saved = load(canvas, ROOT / "workflows" / f"{name}.json")
    size = [LARGER.get(name, 1) * each for each in size_of(saved)]
    found = []

    def look() -> None:
        state = state_of(canvas)
        found.extend(covered(state) + sticking_out(state))

    told = run(canvas, comfyui, look)["status"]
    assert told["status_str"] == "success", told["messages"]
    canvas.screenshot(path=screenshots / f"{name}_{renderer}_after_its_run.png")
    state = state_of(canvas)
    assert canvas.evaluate(SHOWN) == [size]
    (times,) = canvas.evaluate(PLAYED)
    assert times >= 3, "the video does not play"
    assert found + covered(state) + sticking_out(state) == []


PICTURES = """type => {
    const node = app.graph.nodes.find(node => node.type === type);
    const shown = [...(node.imgs ?? []), ...document.querySelectorAll(`[data-node-id="${node.id}"] img`)];
    return Math.max(0, ...shown.map(image => image.naturalWidth));
}"""
# (node, widget, value): sets a widget as its user does.
SET = """([type, name, value]) => {
    app.graph.nodes.find(node => node.type === type).widgets.find(widget => widget.name === name).value = value;
}"""


def test_a_gif_is_shown(canvas, comfyui, renderer: str):
    load(canvas, ROOT / "workflows" / "tiny_t2v.json")
    canvas.evaluate(SET, ["WanDirectorSaveVideo", "format", "gif"])
    canvas.evaluate(SET, ["WanDirectorSampler", "steps", 2])
    assert run(canvas, comfyui)["status"]["status_str"] == "success"
    assert canvas.evaluate(PICTURES, "WanDirectorSaveVideo") == 64


def test_the_plan_of_wan_memory_comes_back_after_a_reload(canvas, comfyui, renderer: str):
    """Of a run that has nothing left to do, because all of it is cached."""
    if "has_intermediate_output" not in comfyui.get_json("/object_info/WanDirectorMemory")["WanDirectorMemory"]:
        pytest.skip("this ComfyUI sends nothing of cached nodes")
    workflow = ROOT / "workflows" / "tiny_low_memory.json"
    load(canvas, workflow)
    canvas.evaluate(SET, ["WanDirectorSampler", "control_after_generate", "fixed"])
    canvas.evaluate(SET, ["WanDirectorSampler", "steps", 2])
    run(canvas, comfyui)
    width = canvas.evaluate(PICTURES, "WanDirectorMemory")
    assert width > 100
    canvas.goto("about:blank")
    visit(canvas, comfyui.url)
    load(canvas, workflow)
    assert canvas.evaluate(PICTURES, "WanDirectorMemory") == 0
    canvas.evaluate(SET, ["WanDirectorSampler", "steps", 2])
    record = run(canvas, comfyui)
    (cached,) = [told["nodes"] for kind, told in record["status"]["messages"] if kind == "execution_cached"]
    assert len(cached) >= 4
    assert canvas.evaluate(PICTURES, "WanDirectorMemory") == width


def test_the_command_line_reads_it_as_the_canvas_does(loaded: Loaded):
    read = as_prompt(parse_graph(loaded.saved, CLASSES))
    for number, node in loaded.queued.items():
        for later in INPUTS_ADDED_LATER.get(node["class_type"], ()):
            if later not in node["inputs"]:
                read[number]["inputs"].pop(later)
    assert read == loaded.queued
