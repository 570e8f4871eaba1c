"""Every text of the nodes in every language: complete, none stale, and saying the same in the same words."""

from __future__ import annotations

import json
import re
from collections import Counter

import pytest
from wan_director import NODE_CLASS_MAPPINGS
from wan_director.nodes.loaders import NO_MODULE

from .locales import LANGUAGES, LOCALES, PHRASES, english_phrases, files_of, inputs_of, page_phrases, phrases_of
from .pages import DOCS, page_phrases_of

GLOSSARY = json.loads((PHRASES / "glossary.json").read_text(encoding="utf-8"))
INFOS = [node.GET_NODE_INFO_V1() for node in NODE_CLASS_MAPPINGS.values()]
TITLES = sorted((info["display_name"] for info in INFOS), key=len, reverse=True)
FIXED = re.compile(r"%[\w:.-]+%|[\w./]*[a-z0-9][_/][\w./]*\w|\b[A-Z0-9]{2,}(?![a-z])[\w.-]*\b|\(words:[\d.]+\)")
"""Placeholders, names with _ or /, abbreviations, and the form in which words of a prompt are weighted."""
SPELT = {"three": "3", "four": "4", "eight": "8"}
every_language = pytest.mark.parametrize("language", LANGUAGES)


def sentences(language: str) -> list[tuple[str, str]]:
    """What is no name: descriptions, tooltips and the common mistakes, with their translations."""
    return [pair for pair in {**phrases_of(language), **page_phrases_of(language)}.items() if pair[0].endswith(".")]


def has_word(text: str, word: str) -> bool:
    return re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", text, re.ASCII) is not None


@every_language
def test_every_phrase_is_translated_and_none_is_stale(language: str):
    """Else run locales.py, which names them; a changed English phrase needs a new look at its translation."""
    assert sorted(phrases_of(language)) == sorted(english_phrases())
    assert sorted(page_phrases_of(language)) == sorted(page_phrases())


@pytest.mark.parametrize("language", ["en", *LANGUAGES])
def test_the_files_are_those_that_the_script_writes(language: str):
    """Else run locales.py."""
    files = files_of(language)
    assert {path: path.read_text(encoding="utf-8") for path in files} == files
    pages = set(DOCS.glob(f"*/{language}.md"))
    assert pages == {path for path in files if path.suffix == ".md"}


@every_language
def test_every_language_has_the_same_files_and_keys(language: str):
    assert {path.name for path in (LOCALES / language).iterdir()} == {path.name for path in (LOCALES / "en").iterdir()}
    for path in (LOCALES / "en").iterdir():
        others = (json.loads((LOCALES / each / path.name).read_text(encoding="utf-8")) for each in ("en", language))
        assert len({tuple(keys_of(each)) for each in others}) == 1, path.name


def keys_of(texts: dict, at: str = "") -> list[str]:
    return (
        [key for name, value in texts.items() for key in keys_of(value, f"{at}/{name}")]
        if isinstance(texts, dict)
        else [at]
    )


@pytest.mark.parametrize("language", ["en", *LANGUAGES])
def test_no_text_holds_what_the_front_end_reads_as_its_own_syntax(language: str):
    """vue-i18n takes { } for a placeholder, @ for a link and | for a choice of plurals."""
    texts = english_phrases() if language == "en" else phrases_of(language).values()
    assert [text for text in texts if re.search(r"[{}@|]", text)] == []


@every_language
def test_numbers_agree(language: str):
    """Where English says "a", "both" or "four", others may count."""
    for en, text in sentences(language):
        wanted, found = (Counter(re.findall(r"\d+(?:\.\d+)*", each)) for each in (en, text))
        counted = {"1", "2", *(number for word, number in SPELT.items() if word in en)}
        assert not wanted - found and set(found - wanted) <= counted, text


@every_language
def test_words_that_stay_as_they_are_agree(language: str):
    """Names of files, folders, formats and placeholders; an input of ours may have its translated name instead."""
    phrases = phrases_of(language)
    for en, text in sentences(language):
        for word in FIXED.findall(en.replace("GPUs", "GPU")):
            assert word in text or phrases.get(word, word) in text or word in ("GPU", "RAM"), (word, en, text)


@every_language
def test_choices_keep_their_names(language: str):
    """The front end shows the choices of an input as they are."""
    phrases = phrases_of(language)
    every_input = [options for info in INFOS for _name, options in inputs_of(info)]
    pairs = [(options["tooltip"], choice) for options in every_input for choice in options.get("options", ())]
    for en, choice in pairs:
        if choice != NO_MODULE and has_word(en, choice):
            assert has_word(phrases[en], choice), (choice, phrases[en])


@every_language
def test_nodes_are_called_by_their_names(language: str):
    phrases = phrases_of(language)
    for en, text in sentences(language):
        for title in TITLES:
            if has_word(en, title):
                assert phrases[title] in text, (title, text)
                en = en.replace(title, "")


@every_language
@pytest.mark.parametrize("term", GLOSSARY)
def test_terms_are_those_of_the_glossary(language: str, term: str):
    agreed = re.compile(GLOSSARY[term][language])
    wrong = {
        en: text
        for en, text in phrases_of(language).items()
        if re.search(rf"(?<![\w./-]){term}(?![\w/-])", en.replace("png frames", ""), re.IGNORECASE)
        and not agreed.search(text)
    }
    assert wrong == {}


@every_language
def test_sentences_end_and_names_do_not(language: str):
    for en, text in {**phrases_of(language), **page_phrases_of(language)}.items():
        assert text.endswith("\u3002") == en.endswith("."), text
        assert not re.search(r"[\u3040-\u9fff][,.;:!?]", text), text


@every_language
def test_inputs_of_a_node_have_names_of_their_own(language: str):
    phrases = phrases_of(language)
    for info in INFOS:
        shown = [phrases[name] for name, _ in inputs_of(info)]
        assert len(set(shown)) == len(shown), (info["name"], shown)
    titles = [phrases[info["display_name"]] for info in INFOS]
    assert len(set(titles)) == len(titles)
