"""Writes the interoperability table of docs/native.md: `python table.py OUTCOMES.json docs/native.md`.

OUTCOMES.json is what `test_comfyui_interoperability.py` leaves where `COMFYUI_OUTCOMES` says.
"""

from __future__ import annotations

import importlib
import json
import math
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"


def heading(family: ModuleType) -> str:
    """The first sentence of a family."""
    return (family.__doc__ or "").strip().splitlines()[0].removesuffix(".")


def result(found: dict[str, Any]) -> str:
    """A row's outcome for people; errors are rounded up, so that another machine may be told the same."""
    if "sentence" in found:
        return f"refused: {found['sentence'].splitlines()[0]}".replace("|", "/")
    error = found["error"]
    if error == 0.0:
        return "0"
    power = math.floor(math.log10(error))
    return f"{math.ceil(error / 10**power)}e{power}"


def table(families: list[ModuleType], outcomes: dict[str, dict[str, Any]]) -> str:
    """All rows, family by family."""
    lines = []
    for family in families:
        lines += [f"### {heading(family)}", "", "| what | result |", "|---|---|"]
        lines += [f"| {name} | {result(outcomes[name])} |" for name in family.ROWS] + [""]
    return "\n".join(lines)


def main() -> None:
    sys.path.insert(0, str(Path(__file__).parent))
    families = [importlib.import_module(name) for name in importlib.import_module("world").FAMILIES]
    outcomes = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    page = Path(sys.argv[2])
    text = page.read_text(encoding="utf-8")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    page.write_text(f"{before}{BEGIN}\n{table(families, outcomes)}{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
