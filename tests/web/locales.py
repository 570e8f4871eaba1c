"""The node texts in `locales/`, made from the schemas of the nodes and the phrases that translate them.

    python -m tests.web.locales

writes `locales/<language>/nodeDefs.json` and the help pages `web/docs/<node>/<language>.md`. The English texts are the
schemas' own; a translation stands in `phrases/<language>.json` under the English phrase that it translates, so that a
changed phrase has none until somebody has looked at it. Phrases without a translation, or no longer used, are named,
and nothing is written. The words to use are in `phrases/glossary.json`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from wan_director import NODE_CLASS_MAPPINGS

from .pages import DOCS, FRAME, mistakes_of, page_of, page_phrases_of

HERE = Path(__file__).resolve().parent
LOCALES = HERE.parents[1] / "locales"
PHRASES = HERE / "phrases"
LANGUAGES = ("zh", "ja")

Translate = Callable[[str], str]


def node_texts(translate: Translate) -> dict[str, Any]:
    """The texts of all nodes in the form in which ComfyUI's front end looks for them."""
    return {node_id: texts_of(node.GET_NODE_INFO_V1(), translate) for node_id, node in NODE_CLASS_MAPPINGS.items()}


def texts_of(info: dict[str, Any], translate: Translate) -> dict[str, Any]:
    """The texts of one node: its name and description, names and tooltips of its inputs and outputs."""
    inputs, outputs = {}, {}
    for name, options in inputs_of(info):
        inputs[name] = {"name": translate(name), "tooltip": translate(options["tooltip"])}
    for number, (name, kind, tooltip) in enumerate(zip(info["output_name"], info["output"], info["output_tooltips"])):
        # The front end translates an output that is called like its type by itself.
        own_name = {} if name == kind else {"name": translate(name)}
        outputs[str(number)] = own_name | {"tooltip": translate(tooltip)}
    texts = {"display_name": translate(info["display_name"]), "description": translate(info["description"])}
    return texts | {"inputs": inputs} | ({"outputs": outputs} if outputs else {})


def inputs_of(info: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The inputs of a node with their options, in order."""
    for group in ("required", "optional"):
        yield from ((name, spec[1]) for name, spec in info["input"].get(group, {}).items())


def phrases_of(language: str) -> dict[str, str]:
    """English phrase -> its translation."""
    return json.loads((PHRASES / f"{language}.json").read_text(encoding="utf-8"))


def english_phrases() -> list[str]:
    """All that is to be translated, in the order in which it appears, each once."""
    phrases: dict[str, None] = {}

    def note(phrase: str) -> str:
        phrases.setdefault(phrase)
        return phrase

    node_texts(note)
    return list(phrases)


def page_phrases() -> list[str]:
    """All of the help pages that is to be translated beside that."""
    return [*FRAME, *dict.fromkeys(mistake for node_id in NODE_CLASS_MAPPINGS for mistake in mistakes_of(node_id))]


def files_of(language: str) -> dict[Path, str]:
    """All files of a language and what they hold."""
    if language == "en":
        return {LOCALES / language / "nodeDefs.json": written(node_texts(str))}
    texts, phrases = node_texts(phrases_of(language).__getitem__), page_phrases_of(language)
    files = {LOCALES / language / "nodeDefs.json": written(texts)}
    for node_id, node in NODE_CLASS_MAPPINGS.items():
        files[DOCS / node_id / f"{language}.md"] = page_of(node.GET_NODE_INFO_V1(), texts[node_id], phrases)
    return files


def written(texts: dict[str, Any]) -> str:
    """The file of these texts."""
    return json.dumps(texts, ensure_ascii=False, indent=1) + "\n"


def faults_of(name: str, phrases: dict[str, str], wanted: list[str]) -> list[str]:
    """Which phrases lack a translation, and which translations are of a phrase that there is no more."""
    missing, unused = [each for each in wanted if each not in phrases], sorted(set(phrases) - set(wanted))
    return [f"{name}.json has no translation of: {each}" for each in missing] + [
        f"{name}.json translates what is nowhere: {each}" for each in unused
    ]


def main() -> int:
    faults: list[str] = []
    for language in LANGUAGES:
        faults += faults_of(language, phrases_of(language), english_phrases())
        faults += faults_of(f"pages_{language}", page_phrases_of(language), page_phrases())
    if faults:
        sys.stdout.write("\n".join([*faults, "Nothing was written.", ""]))
        return 1
    for language in ("en", *LANGUAGES):
        for path, text in files_of(language).items():
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
