"""Checks of what comes over a socket or from a widget."""

from __future__ import annotations

import pytest
from wan_director.common.checking import choice_of
from wan_director.common.errors import InvalidInputError


@pytest.mark.parametrize("value", ["crop", "stretch"])
def test_a_choice_is_given_back(value):
    assert choice_of(value, ("crop", "pad", "stretch"), "fit") == value


@pytest.mark.parametrize("value", ["Crop", "", "crop, pad"])
def test_what_is_no_choice_is_refused_with_the_choices(value):
    with pytest.raises(InvalidInputError, match=f"^The fit is one of crop, pad, stretch, got '{value}'.$"):
        choice_of(value, ("crop", "pad", "stretch"), "fit")
