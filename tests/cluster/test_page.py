"""The page that lists jobs, in a real browser. Needs playwright and a Chromium (`CHROMIUM_PATH`, or on the PATH).

Screenshots go to the folder that `SCREENSHOTS` names.
"""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from .conftest import GRAPH

HOSTILE = "<img src=x onerror=\"document.title='run'\">"


@pytest.fixture(scope="module")
def browser() -> Iterator:
    api = pytest.importorskip("playwright.sync_api")
    chromium = os.environ.get("CHROMIUM_PATH") or shutil.which("chromium") or shutil.which("chromium-browser")
    if not chromium:
        pytest.skip("needs a Chromium")
    with api.sync_playwright() as running:
        started = running.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        yield started
        started.close()


def picture() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 48), "teal").save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def jobs(client, working, folder) -> dict[str, str]:
    """One job in each state, by its state."""
    titles = {"done": "A lighthouse in a storm", "failed": "A graph with a mistake", "aside": HOSTILE,
              "cancelled": "Not any more", "running": "A cat jumps over a puddle", "queued": "x" * 300}  # fmt: skip
    ids = {}
    for state, title in titles.items():
        said = {"key": f"key-{state}", "prompt": GRAPH, "title": title, "gpus": 2 if state == "queued" else 1}
        ids[state] = client.submit(said, {})["id"]
        if state == "cancelled":
            client.change(ids[state], "cancel")
        for _ in range({"aside": 3, "done": 1, "failed": 1, "running": 1}.get(state, 0)):
            worked_on(working, folder, ids[state], state)
    return ids


def worked_on(working, folder, id: str, state: str) -> None:
    """A worker brings a job into a state."""
    leased = working.ask("/worker/lease", {"worker": state, "warm": "", "wait_s": 0, "gpus": 2})["job"]
    said = {"lease": leased["lease"], "worker": state, "reached": 3, "said": "Sampling: step 4 of 20, 3 min left"}
    folder.show(id, picture())
    if state == "running":
        working.ask(f"/worker/{id}/beat", said)
        return
    with folder.unfinished() as part:
        (part / "frame_00001_.png").write_bytes(picture())
        results = [list(each) for each in folder.publish(id, part)] if state == "done" else []
    ends = {"aside": ("lost", "its process ended"), "failed": ("failed", "Width is 3. Use 16 or more.")}
    how, error = ends.get(state, ("done", ""))
    working.ask(f"/worker/{id}/end", {**said, "how": how, "error": error, "results": results})


@pytest.fixture
def page(browser, server, jobs, request) -> Iterator:
    options = {"color_scheme": "light", "viewport": {"width": 1000, "height": 800}, **(getattr(request, "param", {}))}
    opened = browser.new_page(**options)
    opened.faults = []
    opened.on("pageerror", lambda error: opened.faults.append(str(error)))
    opened.set_default_timeout(10_000)
    opened.goto(f"http://127.0.0.1:{server.port}/#token={server.tokens.asking}")
    opened.wait_for_selector("li.running")
    yield opened
    assert opened.faults == []
    opened.close()


def keep(page, name: str) -> None:
    if os.environ.get("SCREENSHOTS"):
        page.wait_for_timeout(400)
        page.screenshot(path=Path(os.environ["SCREENSHOTS"]) / f"{name}.png", full_page=True)


def until(page, what: str) -> None:
    """Waits for it by asking from outside: the page's own policy lets nothing be evaluated inside."""
    for _ in range(100):
        if page.evaluate(what):
            return
        page.wait_for_timeout(100)
    pytest.fail(what)


VIEWS = {
    "light": {},
    "dark": {"color_scheme": "dark"},
    "phone": {"viewport": {"width": 375, "height": 700}},
}


@pytest.mark.parametrize(("name", "page"), VIEWS.items(), ids=VIEWS, indirect=["page"])
def test_every_job_is_listed_with_its_state_and_fits_the_window(page, name):
    assert page.locator("li").count() == 6
    assert page.locator("li.running .said").inner_text() == "Sampling: step 4 of 20, 3 min left"
    assert ", 2 GPUs - " in page.locator("li.queued .facts").inner_text()
    assert page.locator("li.failed .said").inner_text() == "Width is 3. Use 16 or more."
    assert "1 running" in page.locator("#counts").inner_text()
    assert page.locator("li.aside .title").inner_text() == HOSTILE and page.title() == "Wan Director queue"
    until(page, "document.querySelector('li.running img').naturalWidth === 64")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert "token" not in page.url
    keep(page, name)


def test_the_keyboard_suffices(page, client, jobs):
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "state"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Cancel"
    keep(page, "focus")
    page.keyboard.press("Enter")
    until(page, "document.querySelectorAll('li.cancelled').length === 2")
    assert client.job(jobs["queued"])["state"] == "cancelled"
    page.locator("li.done button", has_text="View").focus()
    page.keyboard.press("Enter")
    until(page, "document.querySelector('#viewer[open] img')?.naturalWidth === 64")
    page.keyboard.press("Escape")
    assert not page.locator("#viewer").is_visible()
    assert page.evaluate("document.activeElement.textContent") == "View"


def test_a_job_that_was_set_aside_is_queued_anew(page, client, jobs):
    page.locator("li.aside button", has_text="Again").click()
    until(page, "document.querySelectorAll('li.queued').length === 2")
    assert client.job(jobs["aside"])["state"] == "queued"


def test_only_jobs_of_a_state_are_shown(page):
    page.select_option("#state", "done")
    until(page, "document.querySelectorAll('li').length === 1")


def test_without_a_token_the_page_asks_for_it(browser, server, jobs):
    page = browser.new_page()
    page.goto(f"http://127.0.0.1:{server.port}/")
    page.wait_for_selector("#door:not([hidden])")
    assert page.locator("li").count() == 0
    page.fill("#token", "wrong")
    page.keyboard.press("Enter")
    until(page, "!document.querySelector('#trouble').hidden")
    page.fill("#token", server.tokens.asking)
    page.keyboard.press("Enter")
    page.wait_for_selector("li.done")
    page.close()
