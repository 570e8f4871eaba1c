"""docs/templates.md says of each of ComfyUI's Wan templates what the commands do with it, and names nodes here."""

from __future__ import annotations

import pytest

from ...model_loading.test_template_files import PACKAGE, wan_templates
from .template_table import CLASSES, NODES, PAGE, row, version
from .test_official_templates import REFUSED, RUNNING, RUNNING_APART

WRITTEN = PAGE.read_text(encoding="utf-8")
ROWS = [line for line in WRITTEN.splitlines() if line.startswith("|")][2:]


def _row_of(name: str) -> str:
    (found,) = (line for line in ROWS if f"(`{name}`)" in line)
    return found


@pytest.mark.skipif(
    PACKAGE is None or f"comfyui-workflow-templates-json {version()} -->" not in WRITTEN,
    reason="the package is not installed in the version of the page",
)
@pytest.mark.parametrize("name", wan_templates())
def test_the_page_says_what_the_commands_do(name: str) -> None:
    assert row(name) == _row_of(name), "run python -m wan_director.tests.nodes.headless.template_table"


def test_the_page_has_a_row_for_each_template() -> None:
    assert len(ROWS) == 40
    assert "ships 40 templates" in WRITTEN


def test_what_the_page_says_that_runs_is_run_by_the_tests() -> None:
    runs = {line.split("(`")[1].split("`)")[0] for line in ROWS if line.split(" | ")[3] == "yes"}
    assert runs == {*RUNNING, *RUNNING_APART}
    for name, words in REFUSED.items():
        assert f"*{words.split()[0]}*" in _row_of(name).split(" | ")[3]


def test_what_runs_is_planned_in_the_size_of_its_template() -> None:
    planned = {line.split(" | ")[4].rstrip(" |") for line in ROWS if line.split(" | ")[3] == "yes"}
    assert planned == {"yes", "with `--size`"}


def test_there_are_nodes_here_for_all_that_runs() -> None:
    assert NODES.keys() >= set(RUNNING)
    for id in {id for ids in NODES.values() for id in ids}:
        assert id in CLASSES
