"""Prompt text made plain: broken characters, HTML entities and white space."""

from __future__ import annotations

import html
import re
import unicodedata
from html.entities import html5

_WHITE_SPACE = re.compile(r"\s+")
_ENTITY = re.compile(r"&#?[0-9A-Za-z]{1,24};")
_TERMINAL_COLOUR = re.compile("\x1b\\[[0-9;]*[a-zA-Z]")
_LINE_BREAK = re.compile("\r\n|[\r\u2028\u2029]")

# What ftfy writes for other forms of plain characters. The official negative prompt has full-width commas, so without
# this it would be encoded differently where ftfy is missing.
_DIGRAPHS = (0x132, 0x133, 0x149, *range(0x1C4, 0x1CD), *range(0x1F1, 0x1F4), *range(0xFB00, 0xFB07))
_WIDE_AND_NARROW = range(0xFF01, 0xFFF0)
_PLAIN_FORMS = {
    # As every browser reads them: U+0085 is the ellipsis of a text in Windows-1252. Five codes mean nothing there.
    **{code: bytes([code]).decode("cp1252", "ignore") or chr(code) for code in range(0x80, 0xA0)},
    **{code: unicodedata.normalize("NFKC", chr(code)) for code in (*_DIGRAPHS, *_WIDE_AND_NARROW)},
    0xFB05: "\u017ft",
    0x3000: " ",
    **dict.fromkeys((0x2BC, *range(0x2018, 0x201C)), "'"),
    **dict.fromkeys(range(0x201C, 0x2020), '"'),
}
_WITHOUT_CONTROL_CHARACTERS = dict.fromkeys(
    (*range(0x09), 0x0B, *range(0x0E, 0x20), 0x7F, *range(0x206A, 0x2070), 0xFEFF, *range(0xFFF9, 0xFFFD))
)


def clean_prompt(text: str) -> str:
    """Any string -> text that every tokenizer takes; the empty string and only white space become "".

    Lone surrogates become U+FFFD; control characters, byte order marks and terminal colours are dropped; full-width
    characters, curly quotes, ligatures and digraphs become plain; HTML entities are unescaped twice, and each run of
    white space becomes one space. Text that was decoded in the wrong encoding is mended when the package ftfy is
    installed; all else is the same without it.

    Source: Wan-Video/Wan2.1 wan/modules/tokenizers.py (9737cba), mode "whitespace".
    """
    text = replace_surrogates(text).replace("\0", "")
    text = _mend(text)
    text = html.unescape(html.unescape(text))
    return _WHITE_SPACE.sub(" ", text).strip()


def replace_surrogates(text: str) -> str:
    """Joins surrogate pairs to the character they mean and replaces lone ones by U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _mend(text: str) -> str:
    try:
        import ftfy
    except ImportError:
        return _plain(text)
    return ftfy.fix_text(text)


def _plain(text: str) -> str:
    """What ftfy's `fix_text` gives for text that was decoded in the right encoding.

    Line by line, each until nothing changes any more. From the first line with a "<" on, entities stay as they are.
    """
    lines = []
    has_entities = True
    for line in text.split("\n"):
        has_entities = has_entities and "<" not in line
        lines.append(_plain_line(line, has_entities))
    return "\n".join(lines)


def _plain_line(line: str, has_entities: bool) -> str:
    while True:
        before = line
        if has_entities:
            line = _ENTITY.sub(_entity, line)
        line = _LINE_BREAK.sub("\n", line.translate(_PLAIN_FORMS))
        line = _TERMINAL_COLOUR.sub("", line).translate(_WITHOUT_CONTROL_CHARACTERS)
        line = unicodedata.normalize("NFC", line)
        if line == before:
            return line


def _entity(match: re.Match[str]) -> str:
    """The character of an HTML entity, of one in capitals too (&EACUTE;); what is none stays."""
    entity = match[0]
    if entity.startswith("&#"):
        character = html.unescape(entity)
        return entity if ";" in character else character
    name = entity[1:]
    if name in html5:
        return html5[name]
    lower = html5.get(name.lower()) if name == name.upper() and html.unescape(entity) == entity else None
    return entity if lower is None else lower.upper()
