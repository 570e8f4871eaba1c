"""What ComfyUI's real front end makes of the nodes' texts: languages, search words and help pages.

Needs playwright and a Chromium, as the canvas tests do.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from wan_director import NODE_CLASS_MAPPINGS
from wan_director.nodes.headless.core_nodes import CORE_NODES
from wan_director.nodes.headless.graph import parse_graph
from wan_director.nodes.headless.runner import as_prompt

from ..web.locales import LANGUAGES, LOCALES
from .conftest import PACK_NAME
from .test_comfyui_canvas import CHROMIUM_FLAGS, READY

ROOT = Path(__file__).resolve().parents[2]
SEARCHED = json.loads((ROOT / "tests" / "nodes" / "searched_words.json").read_text(encoding="utf-8"))
EMPTY = {"version": 0.4, "nodes": [], "links": [], "groups": [], "config": {}, "extra": {}}
SET_LANGUAGE = "async language => app.extensionManager.setting.set('Comfy.Locale', language)"
TRANSLATED = """keys => {
    const translate = document.querySelector('#vue-app').__vue_app__.config.globalProperties.$t;
    return keys.map(key => translate(key));
}"""
ON_CANVAS = """types => types.map(type => {
    const node = LiteGraph.createNode(type);
    return {
        display_name: node.title,
        inputs: Object.fromEntries(node.inputs.map(each => [each.name, each.label ?? each.localized_name])),
        outputs: node.outputs.map(each => each.label ?? each.localized_name),
    };
})"""
SEARCH = """words => {
    const state = document.querySelector('#vue-app').__vue_app__.config.globalProperties.$pinia._s;
    const search = state.get('nodeDef').nodeSearchService;
    if (!search.nodeFuseSearch.keys.includes('search_aliases')) return null;
    return words.map(word => search.searchNode(word).map(node => node.name));
}"""
OPEN_HELP = """async ([empty, type]) => {
    await app.loadGraphData(empty, true, true, null);
    const node = LiteGraph.createNode(type);
    app.graph.add(node);
    node.pos = [600, 300];
    app.canvas.selectNode(node);
    app.canvas.draw(true, true);
}"""
PICTURE = """name => [...document.querySelectorAll('img')].some(
    image => image.src.endsWith(name) && image.complete && image.naturalWidth > 0)"""


@pytest.fixture(scope="module")
def page(comfyui) -> Iterator[Any]:
    """A browser page with ComfyUI's front end."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    chromium = os.environ.get("CHROMIUM_PATH") or shutil.which("chromium") or shutil.which("chromium-browser")
    if not chromium:
        pytest.skip("needs a Chromium: set CHROMIUM_PATH")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        page = browser.new_page(viewport={"width": 1600, "height": 1000})
        page.route(lambda url: not url.startswith((comfyui.url, "data:", "blob:")), lambda route: route.abort())
        page.goto(comfyui.url, wait_until="domcontentloaded", timeout=240_000)
        show(page)
        yield page
        page.evaluate(SET_LANGUAGE, "en")
        browser.close()


def show(page) -> None:
    page.wait_for_function(READY, timeout=240_000)
    page.wait_for_timeout(2000)


@pytest.fixture(scope="module", params=["en", *LANGUAGES])
def language(page, request: pytest.FixtureRequest) -> str:
    """The front end is set to this language."""
    page.evaluate(SET_LANGUAGE, request.param)
    page.wait_for_timeout(1000)
    page.reload(wait_until="domcontentloaded")
    show(page)
    return request.param


def texts_of(language: str) -> dict[str, Any]:
    return json.loads((LOCALES / language / "nodeDefs.json").read_text(encoding="utf-8"))


def leaves(texts: dict[str, Any], at: str) -> Iterator[tuple[str, str]]:
    for name, value in texts.items():
        yield from leaves(value, f"{at}.{name}") if isinstance(value, dict) else [(f"{at}.{name}", value)]


def queued(workflow: dict[str, Any]) -> dict[str, Any]:
    """What the command line runs of a saved workflow."""
    return without_titles(as_prompt(parse_graph(workflow, {**CORE_NODES, **NODE_CLASS_MAPPINGS})))


def without_titles(prompt: dict[str, Any]) -> dict[str, Any]:
    return {id: {key: value for key, value in node.items() if key != "_meta"} for id, node in prompt.items()}


@pytest.mark.parametrize("language", ["en", *LANGUAGES])
def test_the_server_offers_the_texts(comfyui, language: str):
    assert comfyui.get_json("/i18n")[language]["nodeDefs"] == texts_of(language)


def test_every_text_arrives_unchanged(page, language: str):
    """The front end compiles texts: what it took for its own syntax would be lost."""
    texts = dict(leaves(texts_of(language), "nodeDefs"))
    assert dict(zip(texts, page.evaluate(TRANSLATED, list(texts)))) == texts


def test_nodes_speak_the_language(page, language: str):
    texts = texts_of(language)
    for node, shown in zip(texts.values(), page.evaluate(ON_CANVAS, list(texts))):
        assert shown["display_name"] == node["display_name"]
        assert {name: shown["inputs"][name] for name in node["inputs"]} == {
            name: each["name"] for name, each in node["inputs"].items()
        }
        own = {int(number): each["name"] for number, each in node.get("outputs", {}).items() if "name" in each}
        assert {number: shown["outputs"][number] for number in own} == own


def test_a_workflow_means_the_same_in_every_language(page, language: str):
    saved = json.loads((ROOT / "workflows" / "tiny_i2v.json").read_text(encoding="utf-8"))
    wanted = queued(saved)
    page.evaluate("async workflow => { await app.loadGraphData(workflow, true, true, null) }", saved)
    page.wait_for_timeout(1000)
    shown = json.loads(page.evaluate("async () => JSON.stringify((await app.graphToPrompt()).output)"))
    assert without_titles(shown) == wanted
    again = json.loads(page.evaluate("() => JSON.stringify(app.graph.serialize())"))
    assert queued(again) == wanted


def test_the_search_finds_our_node_by_the_words_that_people_type(page, language: str):
    """By English titles too, which people read elsewhere and their front end does not show."""
    titles = {node_id: node["display_name"] for node_id, node in texts_of("en").items()}
    pairs = [(word, node_id) for node_id, words in SEARCHED.items() for word in (*words, titles[node_id])]
    found = page.evaluate(SEARCH, [word for word, _ in pairs])
    if found is None:
        pytest.skip("this front end does not search in aliases")
    assert [pair for pair, names in zip(pairs, found) if pair[1] not in names[:64]] == []


@pytest.mark.parametrize("node_id", ["WanDirectorSampler", "WanDirectorLoadModel"])
def test_the_help_pane_shows_the_picture(page, node_id: str):
    page.evaluate(OPEN_HELP, [EMPTY, node_id])
    page.locator('[data-testid="info-button"]').first.evaluate("button => button.click()", timeout=20_000)
    page.wait_for_function(PICTURE, arg=f"/extensions/{PACK_NAME}/docs/images/{node_id}.webp", timeout=20_000)
