"""Tracks and camera paths that no one should write are refused in a sentence."""

from __future__ import annotations

import json

import pytest
import torch
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


def test_a_lens_that_gives_no_numbers_is_refused():
    with pytest.raises(InvalidInputError, match="rays that are no numbers"):
        CORE_NODES["WanCameraEmbedding"].execute(
            camera_pose="Zoom In", width=64, height=64, length=9, speed=1.0, fx=1e-46, fy=0.5, cx=0.5, cy=0.5
        )


def test_a_mask_shorter_than_the_tracks_is_refused():
    points = json.dumps([[{"x": 1, "y": 1}] * 3])
    with pytest.raises(InvalidInputError, match="The track mask has 2 frames, and the tracks have 3"):
        CORE_NODES["WanMoveTracksFromCoords"].execute(points, torch.ones(2, 4, 4))
