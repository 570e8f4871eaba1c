"""What the documents say by name is there: links, tests, nodes, workflows, options, tables."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from wan_director import NODE_CLASS_MAPPINGS
from wan_director.__main__ import _parser
from wan_director.benchmarks.format_matrix import FORMS
from wan_director.nodes.headless.commands.bundled import bundled_names
from wan_director.nodes.headless.core_nodes import CORE_NODES

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(
    path for folder in (".", "docs", "web/docs", "models", "findings") for path in (ROOT / folder).glob("*.md")
)
PAGES = [path for path in DOCUMENTS if path.parent.name == "docs" and path.parent.parent == ROOT]

each_document = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def without_code(text: str) -> str:
    return re.sub(r"```.*?```", "", text, flags=re.DOTALL)


def anchors(path: Path) -> set[str]:
    """Where a link into a page can point: its headings as GitHub spells them."""
    headings = re.findall(r"^#+ (.+)$", without_code(path.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def section(text: str, heading: str) -> str:
    """What stands under a heading, up to the next one."""
    found = re.search(rf"^## {re.escape(heading)}\n+(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, heading
    return found[1].strip()


def table_in(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("|")]


@each_document
def test_every_link_leads_somewhere(path: Path):
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(path.read_text(encoding="utf-8"))):
        if re.match(r"\w+:", target):
            continue
        name, _, anchor = target.partition("#")
        page = (path.parent / name).resolve() if name else path
        assert page.exists() and page.is_relative_to(ROOT), target
        assert not anchor or anchor in anchors(page), target


def test_every_page_can_be_reached_from_the_readme():
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        reached.add(page)
        targets = re.findall(r"\]\(([^)#\s]+\.md)", page.read_text(encoding="utf-8"))
        waiting += {(page.parent / target).resolve() for target in targets if ":" not in target} - reached
    assert set(PAGES) - reached == set()


def named_tests(text: str) -> Iterator[tuple[Path, list[str]]]:
    """(test file, parts of names of its tests) in the last column of the tables of faults.md.

    A file without a folder lies in the folder of the one before it in its cell.
    """
    for line in table_in(text):
        cell = line.strip("| ").rsplit(" | ", 1)[-1]
        folder = None
        for name, inside in re.findall(r"`([\w/]+\.py)`(?: \(((?:`\w+`(?:, )?)+)\))?", cell):
            folder = Path(name).parent if "/" in name else folder
            assert folder is not None, f"no folder is named before {name}: {line}"
            yield ROOT / "tests" / folder / Path(name).name, re.findall(r"\w+", inside)


def test_every_test_that_the_table_of_faults_names_is_there():
    named = list(named_tests(text_of("docs/faults.md")))
    assert len(named) > 50
    for path, parts in named:
        assert path.is_file(), path
        tests = re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
        assert [part for part in parts if not any(part in test for test in tests)] == [], path


def test_every_fault_names_its_tests():
    rows = [line for line in table_in(text_of("docs/faults.md")) if not line.startswith(("|---", "| What", "| Fault"))]
    assert [row for row in rows if ".py`" not in row.strip("| ").rsplit(" | ", 1)[-1]] == []


@each_document
def test_every_file_that_a_document_names_is_there(path: Path):
    names = re.findall(
        r"`((?:tests|benchmarks|workflows|docs|models|training|findings)/[\w./-]+\.\w+)`", path.read_text("utf-8")
    )
    assert [name for name in names if not any((ROOT / base / name).exists() for base in (".", "tests"))] == []


@each_document
def test_every_target_of_make_that_a_document_names_is_there(path: Path):
    targets = set(re.findall(r"^(\w+):", text_of("Makefile"), re.MULTILINE))
    named = re.findall(r"(?:^|`)make (\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(named) - targets == set()


def test_the_readme_begins_with_installing_and_a_video():
    start = "\n".join(text_of("README.md").splitlines()[:60])
    for words in (
        "## Install",
        "ComfyUI-Manager",
        "**Without ComfyUI**",
        "## The first video",
        "make demo",
        "Where to go on",
    ):
        assert words in start, words


def test_the_readme_names_every_node_and_every_workflow():
    readme = text_of("README.md")
    nodes = [line.split(" | ")[0].strip("| ") for line in table_in(section(readme, "The nodes"))[2:]]
    titles = [node.define_schema().display_name for node in NODE_CLASS_MAPPINGS.values()]
    assert sorted(nodes) == sorted(titles)
    assert [name for name in bundled_names() if f"`{name}`" not in section(readme, "The Wan models")] == []


def test_settings_are_the_same_in_the_document_and_on_the_help_page():
    document, page = text_of("docs/settings.md"), text_of("web/docs/WanDirectorSampler.md")
    assert table_in(document.split("\n## ")[0]) == table_in(section(page, "Official settings"))
    assert section(document, "Coming from KSampler") == section(page, "Coming from KSampler")


def test_the_document_lists_the_core_nodes_that_the_command_line_runs():
    listed = section(text_of("docs/command-line.md"), "ComfyUI's own nodes")
    cells = [cell for line in table_in(listed)[2:] for cell in line.rsplit(" | ", 1)[1].strip("| ").split(", ")]
    titles = {}
    for cell in cells:
        title, class_type = re.fullmatch(r"\*([^*]+)\*(?: \(`([^`]+)`\))?", cell).groups()
        titles[class_type or title] = title
    assert len(titles) == len(cells)
    assert titles == {name: node.define_schema().display_name or name for name, node in CORE_NODES.items()}


def test_the_document_names_every_command_and_option():
    document = text_of("docs/command-line.md")
    (commands,) = (each for each in _parser()._actions if isinstance(each, argparse._SubParsersAction))
    of_people = {each.dest for each in commands._choices_actions}  # the others have no help: processes start them
    assert commands.choices.keys() - of_people == {"member"}
    for name, command in ((name, commands.choices[name]) for name in of_people):
        assert f"`wan-director {name}" in document
        for option in (option for action in command._actions for option in action.option_strings[-1:]):
            assert f"`{option}" in document, (name, option)


def test_the_table_of_formats_has_every_form_that_is_measured():
    rows = table_in(section(text_of("docs/formats.md"), "Weight formats").split("\nAlso read")[0])[2:]
    assert [row.split(" | ")[0].strip("| ") for row in rows] == [form.name for form in FORMS]


def test_the_table_of_published_files_is_that_of_the_tests():
    fixtures = ROOT / "tests" / "model_loading" / "fixtures"
    published, models = (json.loads((fixtures / name).read_text("utf-8")) for name in ("published.json", "models.json"))
    page = section(text_of("docs/formats.md"), "Published files")
    shown = [row.strip("| ").split(" | ")[:3] for row in table_in(page)[2:]]
    assert [(repository, file.strip("`").replace("...", "diffusion_pytorch_")) for repository, file, _ in shown] == [
        (repository, file) for repository, file, *_ in published
    ]
    refused = ["refused" in models[name] for _, _, name, *_ in published]
    assert ["refused" in recognised for _, _, recognised in shown] == refused
    counts = (
        f"writes {len(published)} published files",
        f"{refused.count(False)} load; {refused.count(True)} are models",
    )
    assert all(words in " ".join(page.split()) for words in counts)
