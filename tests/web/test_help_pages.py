"""The help page of each node names everything the node takes and gives."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from PIL import Image
from wan_director import NODE_CLASS_MAPPINGS, WEB_DIRECTORY

from .pictures import IMAGES, MAX_BYTES, MAX_BYTES_OF_ALL, TAKEN, WIRED, appearance_of

PAGES = Path(__file__).resolve().parents[2] / WEB_DIRECTORY / "docs"


def test_there_is_one_page_per_node():
    assert {page.stem for page in PAGES.glob("*.md")} == set(NODE_CLASS_MAPPINGS)


@pytest.mark.parametrize("node_id", NODE_CLASS_MAPPINGS)
def test_the_page_names_every_input_and_output(node_id: str):
    page = (PAGES / f"{node_id}.md").read_text(encoding="utf-8")
    info = NODE_CLASS_MAPPINGS[node_id].GET_NODE_INFO_V1()
    names = [*info["input_order"]["required"], *info["input_order"].get("optional", []), *info["output_name"]]
    assert page.startswith(f"# {info['display_name']}\n")
    assert [name for name in names if f"**{name}**" not in page] == []


@pytest.mark.parametrize("node_id", NODE_CLASS_MAPPINGS)
def test_the_page_lists_inputs_in_their_order_and_says_which_are_optional(node_id: str):
    order = NODE_CLASS_MAPPINGS[node_id].GET_NODE_INFO_V1()["input_order"]
    page = (PAGES / f"{node_id}.md").read_text(encoding="utf-8")
    inputs = re.search(r"^## Inputs?\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)[1]
    heads = [line.split(":")[0] for line in inputs.splitlines() if line.startswith("- **")]
    assert [name for head in heads for name in re.findall(r"\*\*(\w+)\*\*", head)] == [
        *order["required"],
        *order.get("optional", []),
    ]
    optional = [name for head in heads if "(optional)" in head for name in re.findall(r"\*\*(\w+)\*\*", head)]
    assert optional == order.get("optional", [])


@pytest.mark.parametrize("node_id", NODE_CLASS_MAPPINGS)
def test_the_page_names_every_choice(node_id: str):
    page = (PAGES / f"{node_id}.md").read_text(encoding="utf-8")
    groups = NODE_CLASS_MAPPINGS[node_id].GET_NODE_INFO_V1()["input"].values()
    choices = [spec[1]["options"] for group in groups for spec in group.values() if spec[0] == "COMBO"]
    fixed = [choice for each in choices for choice in each if not any(Path(name).suffix for name in each)]
    assert [choice for choice in fixed if not re.search(rf"(?<!\w){re.escape(choice)}(?!\w)", page)] == []


@pytest.mark.parametrize("node_id", NODE_CLASS_MAPPINGS)
def test_the_page_shows_the_node_wired_and_ends_with_common_mistakes(node_id: str):
    page = (PAGES / f"{node_id}.md").read_text(encoding="utf-8")
    assert re.findall(r"!\[(.+?)\]\((.+?)\)", page.split("\n## ")[0])[0][1] == f"images/{node_id}.webp"
    assert page.count("\n- ", page.index("\n## Common mistakes\n")) >= 2


def test_pictures_are_small_and_none_is_left_over():
    sizes = {path.stem: path.stat().st_size for path in IMAGES.iterdir()}
    assert set(sizes) == set(NODE_CLASS_MAPPINGS)
    assert max(sizes.values()) <= MAX_BYTES and sum(sizes.values()) <= MAX_BYTES_OF_ALL
    for path in IMAGES.iterdir():
        with Image.open(path) as picture:
            assert picture.format == "WEBP" and picture.width <= 1500, path


def test_pictures_show_the_nodes_as_they_are():
    """Else take them again with pictures.py."""
    infos = {node_id: node.GET_NODE_INFO_V1() for node_id, node in NODE_CLASS_MAPPINGS.items()}
    now = {node_id: appearance_of(info, WIRED.get(node_id)) for node_id, info in infos.items()}
    assert json.loads(TAKEN.read_text(encoding="utf-8")) == now
