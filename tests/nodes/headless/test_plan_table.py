"""The table of cards in the documents is the planner's."""

from __future__ import annotations

from pathlib import Path

import pytest
from wan_director.nodes.headless.plan_table import ROWS, table
from wan_director.nodes.hosts.command_line import HeadlessHost
from wan_director.nodes.hosts.host import use_host

CARDS = Path(__file__).resolve().parents[3] / "docs" / "cards.md"
START, END = "<!-- made by: wan-director plan --table -->\n", "\n<!-- end -->"


@pytest.fixture(autouse=True)
def nothing_downloaded():
    use_host(HeadlessHost())


def test_the_document_shows_what_the_planner_computes():
    text = CARDS.read_text(encoding="utf-8")
    shown = text[text.index(START) + len(START) : text.index(END)]
    assert shown == table(), "run `wan-director plan --table` and put the result into docs/cards.md"


def test_a_larger_card_never_needs_more():
    """Cells of a row go from a shorter video over fewer and fewer swapped blocks to everything on the card."""
    lines = table().splitlines()[2:]
    assert len(lines) == len(ROWS)
    for line in lines:
        cells = [cell.strip() for cell in line.strip("|").split("|")][4:]
        ranks = [_rank(cell) for cell in cells]
        assert ranks == sorted(ranks), line


def _rank(cell: str) -> tuple[int, int]:
    if cell == "-":
        return (0, 0)
    if cell.endswith("frames"):
        return (1, int(cell.split()[0]))
    return (2, -int(cell.split()[1])) if cell.startswith("swap") else (3, 0)
