"""Control characters in text that others wrote never reach a terminal."""

from __future__ import annotations

import logging

import pytest
from wan_director.common.log import logger
from wan_director.common.printable import printable, printable_name

HOSTILE = ("\x1b]0;owned\x07", "\x1b[2J", "\x9b31m", "\x7f", "\r", "\b\b", "\x00", "\u202egnp.exe", "\u2028", "\ud800")


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_what_a_terminal_would_obey_is_written_out(text: str) -> None:
    shown = printable(f"a{text}b")
    assert not any(character in shown for character in text if not character.isascii() or not character.isprintable())
    assert shown.startswith("a\\") and shown.endswith("b")
    assert printable_name(text) == printable(text)


def test_plain_text_stays_as_it_is() -> None:
    text = 'C:\\models\\W\u00e4n \u4e07\u76f8 100 % "x"'
    assert printable(text) == printable_name(text) == text
    assert printable("two\n\tlines") == "two\n\tlines"
    assert printable_name("two\n\tlines") == "two\\n\\tlines"


def test_log_messages_are_printable(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "wan_director"):
        logger.info("Loading %s.", "\x1b[31mred")
    assert caplog.messages == ["Loading \\x1b[31mred."]
