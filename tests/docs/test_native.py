"""docs/native.md has a row for each test of the interoperability table, and no other."""

from __future__ import annotations

import re
import sys
from importlib import import_module
from pathlib import Path

from wan_director.nodes.conditioning.keys import REFUSED

ROOT = Path(__file__).resolve().parents[2]
ROWS_FOLDER = ROOT / "tests" / "comfyui" / "rows"


def test_the_table_has_the_rows_that_are_measured(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(ROWS_FOLDER), *sys.path])
    families = [import_module(name) for name in import_module("world").FAMILIES]
    measured = {name: row for family in families for name, row in family.ROWS.items()}
    table = (ROOT / "docs" / "native.md").read_text(encoding="utf-8").split("<!-- table: ")[1]
    written = dict(re.findall(r"^\| (.+?) \| (.+) \|$", table, re.MULTILINE))
    assert written.keys() - {"what"} == measured.keys()
    for name, row in measured.items():
        assert written[name].startswith("refused: ") if row.words else float(written[name]) <= row.limit


def test_what_a_conditioning_is_refused_for_is_cited_as_it_is_said():
    table = (ROOT / "docs" / "native.md").read_text(encoding="utf-8").split("<!-- table: ")[1]
    form = (
        r"refused: The positive conditioning carries (.+) \('(\w+)', from (.+)\), and Wan Sampler .+? that\. (.+)\. \|$"
    )
    cited = re.findall(form, table, re.MULTILINE)
    assert len(cited) >= 10
    for what, key, source, advice in cited:
        assert (what, source, advice) == (REFUSED[key].what, REFUSED[key].source, REFUSED[key].advice), key
