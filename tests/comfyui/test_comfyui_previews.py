"""What the sampler shows while it works, on ComfyUI's real canvas: it moves within a step, in both renderers.

Needs what `test_comfyui_canvas` needs. Screenshots go to `WAN_DIRECTOR_SCREENSHOTS`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import ComfyServer, make_folder, running
from .test_comfyui_canvas import CHROMIUM_FLAGS, RENDERERS, ROOT, SET, load, run, visit
from .test_comfyui_native_model import report

# Every tenth of a second: the step that is done, and the picture on the sampler, as 8 x 8 grey values.
WATCH = """type => {
    const id = app.graph.nodes.find(node => node.type === type).id;
    const small = new OffscreenCanvas(8, 8).getContext('2d', {willReadFrequently: true});
    const watched = window.watched = {seen: [], sizes: [], step: 0};
    watched.listener = event => { watched.step = event.detail.value; };
    app.api.addEventListener('progress', watched.listener);
    watched.timer = setInterval(() => {
        const node = app.graph.getNodeById(id);
        const inPage = [...document.querySelectorAll(`[data-node-id="${id}"] img`)];
        const image = [...inPage, ...(node.imgs ?? [])].find(image => image.complete && image.naturalWidth);
        if (!image || !app.nodePreviewImages[id]) return;
        small.drawImage(image, 0, 0, 8, 8);
        const pixels = small.getImageData(0, 0, 8, 8).data.filter((_, index) => index % 4 === 0);
        watched.seen.push([watched.step, pixels.join()]);
        watched.sizes.push(image.naturalWidth);
    }, 100);
}"""
WATCHED = """() => {
    clearInterval(watched.timer);
    app.api.removeEventListener('progress', watched.listener);
    return [watched.seen, watched.sizes];
}"""
BOX = """type => {
    const node = app.graph.nodes.find(node => node.type === type);
    const element = document.querySelector(`[data-node-id="${node.id}"]`);
    if (element) return [element.getBoundingClientRect()].map(({x, y, width, height}) => [x, y, width, height])[0];
    const [x, y, width, height] = node.getBounding(), {scale, offset} = app.canvas.ds;
    const page = app.canvas.canvas.getBoundingClientRect();
    return [page.x + (x + offset[0]) * scale, page.y + (y + offset[1]) * scale, width * scale, height * scale];
}"""
SAMPLER = "WanDirectorSampler"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, comfyui_place: tuple[Path, str]) -> Iterator[ComfyServer]:
    """A ComfyUI whose user has asked for previews."""
    folder = tmp_path_factory.mktemp("previews") / "base"
    make_folder(folder)
    with running(folder, *comfyui_place, "--preview-method=auto", "--preview-size=256") as server:
        yield server


@pytest.fixture(scope="module")
def page(server: ComfyServer) -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    chromium = os.environ.get("CHROMIUM_PATH") or shutil.which("chromium") or shutil.which("chromium-browser")
    if not chromium:
        pytest.skip("needs a Chromium: set CHROMIUM_PATH")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        page = browser.new_page(viewport={"width": 1600, "height": 1000})
        page.route(lambda url: not url.startswith((server.url, "data:", "blob:")), lambda route: route.abort())
        visit(page, server.url)
        yield page
        browser.close()


@pytest.fixture(scope="module")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = Path(os.environ.get("WAN_DIRECTOR_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="module", params=RENDERERS)
def renderer(page, request: pytest.FixtureRequest) -> str:
    setting = "Comfy.VueNodes.Enabled"
    offered = "setting => (app.ui.settings.settingsLookup[setting]?.type ?? 'hidden') !== 'hidden'"
    if page.evaluate(offered, setting):
        change = "async ([name, on]) => app.extensionManager.setting.set(name, on)"
        page.evaluate(change, [setting, RENDERERS[request.param]])
        page.wait_for_timeout(1000)
    elif RENDERERS[request.param]:
        pytest.skip("this front end has no Nodes 2.0")
    return request.param


def sampled(page, server: ComfyServer, seed: int, look=lambda: None) -> tuple[list[list[Any]], list[int]]:
    """A run of a few long steps; gives what was on the sampler meanwhile, and how wide."""
    load(page, ROOT / "workflows" / "tiny_t2v.json")
    for type, name, value in (
        (SAMPLER, "seed", seed), (SAMPLER, "control_after_generate", "fixed"), (SAMPLER, "steps", 8),
        ("WanDirectorEmptyLatent", "width", 128), ("WanDirectorEmptyLatent", "height", 128),
        ("WanDirectorEmptyLatent", "frames", 33),
    ):  # fmt: skip
        page.evaluate(SET, [type, name, value])
    page.evaluate(WATCH, SAMPLER)
    assert run(page, server, look)["status"]["status_str"] == "success"
    return page.evaluate(WATCHED)


def test_the_decoder_is_comfyuis(newer_comfyui: tuple[Path, str], tmp_path: Path) -> None:
    """On random weights, both sizes of latent, whole clips and stills."""
    differences = report("previews.py", newer_comfyui, tmp_path)
    assert len(differences) == 4 and max(differences.values()) <= 1e-5, differences


def test_the_preview_moves_within_a_step(page, server, renderer: str, screenshots: Path) -> None:
    clips, steps = [], []

    def look() -> None:
        seen = page.evaluate("() => watched.seen.at(-1)")
        if seen and len(clips) < 12:
            x, y, width, height = page.evaluate(BOX, SAMPLER)
            place = {"x": max(x, 0), "y": max(y, 0), "width": width, "height": height}
            clips.append(page.screenshot(clip=place, path=screenshots / f"preview_{renderer}_{len(clips):02}.png"))
            steps.append(seen[0])

    seen, sizes = sampled(page, server, seed=1 + RENDERERS[renderer], look=look)
    within = {step: len({pixels for at, pixels in seen if at == step}) for step in {at for at, _ in seen}}
    assert max(within.values()) >= 3, within
    assert len(set(clips)) >= 3, "what is seen on the page stands still"
    assert set(sizes) == {256}


def test_a_run_that_ends_leaves_nothing_that_moves(page, server, renderer: str) -> None:
    sampled(page, server, seed=11 + RENDERERS[renderer])
    page.evaluate(WATCH, SAMPLER)
    page.wait_for_timeout(1500)
    seen, _ = page.evaluate(WATCHED)
    assert len({pixels for _, pixels in seen}) <= 1
    assert "preview stands still" not in server.log and "Traceback" not in server.log
