"""ComfyUI's own offer to download what a workflow lacks: every file with its folder, and nothing once all lie there.

Front end 1.27.10 opens a dialog; 1.58.1 shows a warning whose details are the group "Missing Models" of a panel.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import ComfyServer
from .test_comfyui_canvas import READY, ROOT, canvas, load  # noqa: F401  (a fixture)

WORKFLOWS = sorted((ROOT / "workflows").glob("*.json"))
SETTING = "Comfy.Workflow.ShowMissingModelsWarning"
CHANGE = "async ([name, on]) => app.extensionManager.setting.set(name, on)"
OFFERED = """() => ({
    dialog: [...document.querySelectorAll('.global-dialog, .p-dialog')].map(e => e.innerText),
    overlay: Boolean(document.querySelector('[data-testid="error-overlay"]')),
    group: [...document.querySelectorAll('[data-testid="missing-model-importable-rows"]')].map(e => e.innerText),
})"""
each_workflow = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)


def wanted(path: Path) -> set[tuple[str, str]]:
    """(folder, name) of each file that a workflow offers for download."""
    nodes = json.loads(path.read_text(encoding="utf-8"))["nodes"]
    offered = [each for node in nodes for each in node["properties"].get("models", [])]
    return {(each["directory"], each["name"]) for each in offered}


ALL = set().union(*map(wanted, WORKFLOWS))


def offered(page: Any, path: Path) -> set[tuple[str, str]]:
    """(folder, name) of each file whose download the front end offers for a workflow; then puts the offer away."""
    load(page, path)
    page.wait_for_timeout(1000)
    details = page.locator('[data-testid="error-overlay-see-errors"]')
    if details.count():
        details.first.click()
        page.wait_for_timeout(1000)
    shown = page.evaluate(OFFERED)
    assert not (shown["overlay"] and not shown["group"]), "a warning that is not about files"
    lines = [line.strip() for text in shown["dialog"] + shown["group"] for line in text.splitlines()]
    page.keyboard.press("Escape")
    page.wait_for_timeout(500)
    lines = [line for line in lines if not line.isdigit()]  # how many nodes want a file
    named = {pair for pair in ALL if f"{pair[0]} / {pair[1]}" in lines}
    return named | {(folder, name) for name, folder in zip(lines, lines[1:]) if (folder, name) in ALL}


@pytest.fixture(scope="module")
def asking(canvas: Any) -> Iterator[Any]:  # noqa: F811
    """The page with the warning switched on, as it is for a new user."""
    canvas.evaluate(CHANGE, [SETTING, True])
    yield canvas
    canvas.evaluate(CHANGE, [SETTING, False])


@pytest.fixture
def downloaded(asking: Any, comfyui: ComfyServer) -> Iterator[Any]:
    """The page of a host in which all files of all workflows lie at their places; empty ones, as only names count."""
    files = [comfyui.folder / "models" / folder / name for folder, name in ALL]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    asking.reload(wait_until="domcontentloaded")
    asking.wait_for_function(READY, timeout=240_000)
    asking.wait_for_timeout(2000)
    yield asking
    for file in files:
        file.unlink()


@each_workflow
def test_every_file_is_offered_with_its_folder_and_bundled_ones_are_not(asking: Any, path: Path):
    assert offered(asking, path) == wanted(path)
    assert bool(wanted(path)) is not path.stem.startswith("tiny")


def test_nothing_is_offered_once_the_files_lie_there(downloaded: Any):
    assert {path.stem: offered(downloaded, path) for path in WORKFLOWS} == {path.stem: set() for path in WORKFLOWS}
