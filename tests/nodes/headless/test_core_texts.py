"""ComfyUI's nodes that take texts apart and choose among them."""

from __future__ import annotations

import pytest
from wan_director.nodes.headless.core_nodes import CORE_NODES


def call(name: str, **inputs):
    return CORE_NODES[name].execute(**inputs).args[0]


@pytest.mark.parametrize(
    ("pattern", "options", "found"),
    [
        (r"^(?:[^\n]*\n){1}([^\n]*)(?:\n|$)", {"mode": "First Group"}, "two 22"),
        (r"\d+", {}, "1"),
        (r"\d+", {"mode": "All Matches"}, "1\n22\n333"),
        (r"(\w)\w* (\d)", {"mode": "All Matches"}, "o\nt\nt"),
        (r"(\w)\w* (\d)", {"mode": "All Groups", "group_index": 2}, "1\n2\n3"),
        (r"ONE", {"case_insensitive": True}, "one"),
        (r"ONE", {}, ""),
        (r"^t\w+", {"multiline": True}, "two"),
        (r"one.*two", {"dotall": True}, "one 1\ntwo"),
        (r"one.*two", {}, ""),
        (r"(\d)", {"mode": "First Group", "group_index": 2}, ""),
        (r"(\d", {"mode": "First Group"}, ""),
    ],
)
def test_the_part_of_a_text_that_a_pattern_finds(pattern, options, found):
    widgets = {
        "mode": "First Match", "case_insensitive": False, "multiline": False, "dotall": False, "group_index": 1,
    }  # fmt: skip
    text = "one 1\ntwo 22\nthree 333"
    assert call("RegexExtract", string=text, regex_pattern=pattern, **{**widgets, **options}) == found


def test_a_written_choice_has_the_number_of_its_text():
    written = {"option1": "Default", "option2": "Video", "option10": "Picture", "option11": ""}
    assert CORE_NODES["CustomCombo"].execute(choice="Picture", index=0, **written).args == ("Picture", 2)
    assert CORE_NODES["CustomCombo"].execute(choice="Picture", index=7).args == ("Picture", 7)
