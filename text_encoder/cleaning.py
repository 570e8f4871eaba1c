"""Prompt text made plain: broken characters, HTML entities and white space."""

from __future__ import annotations

import html
import re
import unicodedata

_WHITE_SPACE = re.compile(r"\s+")
# What ftfy writes for other forms of plain characters: full and half width, curly quotes, ligatures. The official
# negative prompt has full-width commas, so without this it would be encoded differently where ftfy is missing.
_PLAIN_FORMS = {
    0x3000: " ",
    **{code: unicodedata.normalize("NFKC", chr(code)) for code in (*range(0xFB00, 0xFB05), *range(0xFF01, 0xFFF0))},
    **dict.fromkeys((0x2BC, *range(0x2018, 0x201C)), "'"),
    **dict.fromkeys(range(0x201C, 0x2020), '"'),
}


def clean_prompt(text: str) -> str:
    """Any string -> text that every tokenizer takes; the empty string and only white space become "".

    Lone surrogates become U+FFFD, NUL is dropped, full-width characters, curly quotes and ligatures become plain,
    HTML entities are unescaped twice, and each run of white space becomes one space. Broken encodings are mended when
    the package ftfy is installed.

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
        return unicodedata.normalize("NFC", text.translate(_PLAIN_FORMS))
    return ftfy.fix_text(text)
