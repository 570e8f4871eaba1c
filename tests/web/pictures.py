"""The pictures of the help pages: each node wired among its neighbours, taken from ComfyUI's real front end.

    python tests/web/pictures.py http://127.0.0.1:8188 [NodeId ...]

makes those of the named nodes (of all, when none is named) again, in `web/docs/images`. A ComfyUI with this pack only
must answer there; playwright and a Chromium (`CHROMIUM_PATH`, or `chromium` on the PATH) take them, in the classic
renderer, which shows every input. What is wired to what stands in `wired.json`: for a node, `[class, output, input]` of
the neighbours that give it something, and of those that take something from it (with a name of its own where two are of
a class), and values of its widgets that the server has no file for.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
IMAGES = HERE.parents[1] / "web" / "docs" / "images"
WIRED = json.loads((HERE / "wired.json").read_text(encoding="utf-8"))
TAKEN = HERE / "pictures_taken_of.json"
MAX_BYTES, MAX_BYTES_OF_ALL = 55_000, 1_300_000
SCALE, QUALITY = 2, 60
READY = "() => window.app?.graph && window.LiteGraph && 'WanDirectorSampler' in LiteGraph.registered_node_types"
SETTINGS = {
    "Comfy.TutorialCompleted": True,  # else the templates open over the canvas at the first start
    "Comfy.Locale": "en",
    "Comfy.VueNodes.Enabled": False,
    "Comfy.Minimap.Visible": False,
    "Comfy.NodeBadge.NodeSourceBadgeMode": "None",
    "Comfy.Canvas.SelectionToolbox": False,
    "Comfy.Graph.LinkMarkers": 0,
}
SET = """async settings => {
    for (const [name, value] of Object.entries(settings))
        if (app.ui.settings.settingsLookup[name]) await app.extensionManager.setting.set(name, value);
}"""
BUILD = """async ({id, gives, takes, values = {}}) => {
    const gap = 44, step = 46, margin = 14;
    await app.loadGraphData({version: 0.4, nodes: [], links: [], groups: [], last_node_id: 0, last_link_id: 0,
        config: {}, extra: {}}, true, true, null);
    app.canvas.background_image = null;
    app.canvas.clear_background_color = "#1b1b1d";
    const make = type => {
        const node = LiteGraph.createNode(type);
        app.graph.add(node);
        return node;
    };
    const slot = (slots, name) => slots.findIndex(each => each.name === name);
    const middle = make(id);
    for (const widget of middle.widgets ?? []) if (widget.name in values) widget.value = values[widget.name];
    const texts = middle.widgets?.filter(widget => widget.element).length ?? 0;
    const [needed, height] = middle.computeSize();
    middle.setSize([Math.max(needed, 240), height + texts * 30]);
    const neighbours = (list, wire) => {
        const nodes = [];
        for (const [type, output, input, name] of list) {
            let node = nodes.find(each => each.key === (name ?? type))?.node;
            if (!node) {
                node = make(type);
                nodes.push({key: name ?? type, node});
            }
            wire(node, output, input);
        }
        return nodes.map(each => each.node);
    };
    const before = neighbours(gives, (node, output, input) =>
        node.connect(slot(node.outputs, output), middle, slot(middle.inputs, input)));
    const after = neighbours(takes, (node, output, input) =>
        middle.connect(slot(middle.outputs, output), node, slot(node.inputs, input)));
    for (const node of [...before, ...after]) {
        node.collapse();
        node.onDrawTitleText = (context, height, size, scale, font) => {  // which would cut it at 20 characters
            context.font = font;
            context.fillStyle = LiteGraph.NODE_TITLE_COLOR;
            context.textAlign = "left";
            context.fillText(node.getTitle(), height, LiteGraph.NODE_TITLE_TEXT_Y - height);
        };
    }
    app.canvas.ds.scale = 1;
    app.canvas.ds.offset = [400, 200];
    app.canvas.draw(true, true);
    await new Promise(resolve => setTimeout(resolve, 300));
    const width = node => node._collapsed_width;
    const widest = Math.max(0, ...before.map(width));
    const column = (nodes, place) => nodes.forEach((node, number) => node.pos = [place(node), 12 + number * step]);
    middle.pos = [before.length ? widest + gap : 0, 0];
    column(before, node => widest - width(node));
    column(after, () => middle.pos[0] + middle.size[0] + gap);
    const last = Math.max(0, ...after.map(width));
    const right = middle.pos[0] + middle.size[0] + (after.length ? gap + last : 0);
    const bottom = Math.max(middle.size[1], (Math.max(before.length, after.length) - 1) * step + 12);
    app.canvas.selectedItems?.clear?.();
    app.canvas.deselectAll?.();
    const box = app.canvas.canvas.getBoundingClientRect();
    await new Promise(resolve => setTimeout(resolve, 500));
    middle.strokeStyles = {};  // no red frame for a file that only the picture has
    app.canvas.draw(true, true);
    return {x: box.x + 400 - margin, y: box.y + 200 - 30 - margin,
        width: Math.ceil(right + 2 * margin), height: Math.ceil(bottom + 30 + 2 * margin)};
}"""


def appearance_of(info: dict[str, Any], wired: dict[str, Any]) -> str:
    """What a picture shows of a node, in short: another value means that it must be taken again."""
    inputs = [[name, spec[0]] for group in info["input_order"] for name, spec in info["input"][group].items()]
    shown = [info["display_name"], inputs, info["output_name"], wired]
    return hashlib.sha256(json.dumps(shown, sort_keys=True, default=str).encode()).hexdigest()[:12]


def encoded(png: bytes) -> bytes:
    """A screenshot as a small WebP file."""
    from PIL import Image

    file = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").save(file, "WEBP", quality=QUALITY, method=6)
    return file.getvalue()


def keep_settings(route: Any) -> None:
    """Reads the user's settings from the server, with ours from the first moment on, and writes none there."""
    if route.request.method != "GET":
        route.fulfill(status=200)
    elif route.request.url.endswith("/settings"):  # else a fresh server opens its templates
        route.fulfill(json=route.fetch().json() | SETTINGS)
    else:
        route.continue_()


def take(url: str, node_ids: Sequence[str]) -> None:
    """Takes the pictures of these nodes and notes what they show."""
    from playwright.sync_api import sync_playwright
    from wan_director import NODE_CLASS_MAPPINGS

    taken = json.loads(TAKEN.read_text(encoding="utf-8")) if TAKEN.exists() else {}
    chromium = os.environ.get("CHROMIUM_PATH") or shutil.which("chromium") or shutil.which("chromium-browser")
    IMAGES.mkdir(exist_ok=True)
    with sync_playwright() as running:
        browser = running.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1700, "height": 1500}, device_scale_factor=SCALE)
        page.route(lambda address: not address.startswith((url, "data:", "blob:")), lambda route: route.abort())
        page.route("**/settings**", keep_settings)
        page.goto(url, wait_until="domcontentloaded", timeout=240_000)
        page.wait_for_function(READY, timeout=240_000)
        page.wait_for_timeout(3000)
        page.evaluate(SET, SETTINGS)
        for node_id in node_ids:
            clip = page.evaluate(BUILD, {"id": node_id, **WIRED[node_id]})
            picture = encoded(page.screenshot(clip=clip))
            (IMAGES / f"{node_id}.webp").write_bytes(picture)
            info = NODE_CLASS_MAPPINGS[node_id].GET_NODE_INFO_V1()
            taken[node_id] = appearance_of(info, WIRED[node_id])
            sys.stdout.write(f"{node_id}: {clip['width']} x {clip['height']}, {len(picture) / 1000:.1f} KB\n")
        browser.close()
    now = {node_id: taken[node_id] for node_id in NODE_CLASS_MAPPINGS if node_id in taken}
    TAKEN.write_text(json.dumps(now, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    take(sys.argv[1], sys.argv[2:] or list(WIRED))
