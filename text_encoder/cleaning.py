"""Prompt text made plain: broken characters, HTML entities and white space."""

from __future__ import annotations

import html
import re

_WHITE_SPACE = re.compile(r"\s+")


def clean_prompt(text: str) -> str:
    """Any string -> text that every tokenizer takes; the empty string and only white space become "".

    Lone surrogates become U+FFFD, NUL is dropped, broken encodings are mended when the package ftfy is installed,
    HTML entities are unescaped twice, and each run of white space becomes one space.

    Source: Wan-Video/Wan2.1 wan/modules/tokenizers.py (9737cba), mode "whitespace".
    """
    text = replace_surrogates(text).replace("\0", "")
    text = _mend_encoding(text)
    text = html.unescape(html.unescape(text))
    return _WHITE_SPACE.sub(" ", text).strip()


def replace_surrogates(text: str) -> str:
    """Joins surrogate pairs to the character they mean and replaces lone ones by U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _mend_encoding(text: str) -> str:
    try:
        import ftfy
    except ImportError:
        return text
    return ftfy.fix_text(text)
