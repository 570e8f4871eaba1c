"""Tracks and camera paths that no one should write are refused in a sentence."""

from __future__ import annotations

import pytest
from wan_director.common.errors import InvalidInputError
from wan_director.nodes.control.path_text import read_path
from wan_director.nodes.headless.core_nodes import CORE_NODES

POINT = '{"x": 1, "y": 2}'
HUGE = "1" + "0" * 400


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        f'[[{{"x": {HUGE}, "y": 2}}]]',
        f"[[{POINT}], []]",
        '[[{"x": NaN, "y": 1}]]',
        '[[{"x": 1e30, "y": 1}]]',
    ],
)
def test_tracks(text):
    with pytest.raises(InvalidInputError, match="Tracks are lists of points"):
        CORE_NODES["WanMoveTracksFromCoords"].execute(text)


@pytest.mark.parametrize("number", [HUGE, "1e308", "NaN"])
def test_camera_paths(number):
    with pytest.raises(InvalidInputError, match="must be finite numbers"):
        read_path(f'[{{"frame": 0, "move": [{number}, 0, 0]}}]', 9, 1.0)
