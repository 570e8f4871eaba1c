"""The help page of each node names everything the node takes and gives."""

from __future__ import annotations

from pathlib import Path

import pytest
from wan_director import NODE_CLASS_MAPPINGS, WEB_DIRECTORY

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
