"""The help pages in other languages, made from the texts of the nodes and the common mistakes of the English pages.

`locales.py` writes them. A mistake stands under its English sentence in `phrases/pages_<language>.json`, as the node
texts do in theirs.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
DOCS = HERE.parents[1] / "web" / "docs"
FRAME = ("Inputs", "Outputs", "Common mistakes", " (optional)", ": ", "The help in English says more.")
"""What stands around the texts of every page."""


def page_phrases_of(language: str) -> dict[str, str]:
    """English phrase of the pages -> its translation."""
    return json.loads((HERE / "phrases" / f"pages_{language}.json").read_text(encoding="utf-8"))


def mistakes_of(node_id: str) -> list[str]:
    """The common mistakes that the English page of a node names, each in one line."""
    page = (DOCS / f"{node_id}.md").read_text(encoding="utf-8")
    section = page.split("\n## Common mistakes\n")[1].split("\n## ")[0]
    return [" ".join(each.split()) for each in re.split(r"^- ", section, flags=re.MULTILINE)[1:]]


def page_of(info: dict[str, Any], texts: dict[str, Any], phrases: dict[str, str]) -> str:
    """The help page of a node in the language of these texts (see `locales.texts_of`) and phrases."""
    node_id, title, colon = info["name"], texts["display_name"], phrases[": "]
    optional = info["input"].get("optional", {})
    inputs = [
        f"- **{each['name']}**{phrases[' (optional)'] if name in optional else ''}{colon}{each['tooltip']}"
        for name, each in texts["inputs"].items()
    ]
    outputs = [
        f"- **{each.get('name', info['output_name'][int(number)])}**{colon}{each['tooltip']}"
        for number, each in texts.get("outputs", {}).items()
    ]
    mistakes = [f"- {phrases[each]}" for each in mistakes_of(node_id)]
    sections = (("Inputs", inputs), ("Outputs", outputs), ("Common mistakes", mistakes))
    parts = [f"# {title}", texts["description"], f"![{title}](images/{node_id}.webp)"]
    parts += ["\n".join([f"## {phrases[name]}", *lines]) for name, lines in sections if lines]
    return "\n\n".join([*parts, phrases[FRAME[-1]]]) + "\n"
