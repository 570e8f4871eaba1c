"""The detector judges the demo model, so it is judged here: right on every drawn clip, never fooled by noise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from wan_director.training.captions import caption
from wan_director.training.detector import NONE, detect
from wan_director.training.scenes import (
    MOTIONS,
    SHAPES,
    TAUGHT_BACKGROUNDS,
    TAUGHT_COLOURS,
    is_held_out,
    render,
    sample_scene,
)

SIZES = [(17, 64, 64), (9, 64, 96), (33, 96, 64), (17, 128, 128)]


@pytest.mark.parametrize("size", SIZES)
def test_detector_is_right_on_every_drawn_clip(size):
    rng = np.random.default_rng(sum(size))
    scenes = [sample_scene(rng, held_out=bool(index % 2), aspect=size[2] / size[1]) for index in range(24)]
    for scene, video in zip(scenes, render(scenes, *size)):
        finding = detect(video)
        for attribute in ("colour", "background", "shape", "motion", "size"):
            assert getattr(finding, attribute) == getattr(scene, attribute), scene
        assert finding.strict_shape == scene.shape, scene
        assert scene.motion == "still" or finding.speed == scene.speed, scene


@pytest.mark.parametrize("size", SIZES)
def test_colours_that_the_training_does_not_show_are_told_where_they_are_asked_for(size):
    rng = np.random.default_rng(sum(size))
    scenes = [sample_scene(rng, aspect=size[2] / size[1]) for _ in range(24)]
    (colour, rgb), (background, behind) = *TAUGHT_COLOURS.items(), *TAUGHT_BACKGROUNDS.items()
    taught = [
        replace(scene, colour=colour, background=background, colour_rgb=rgb, background_rgb=behind) for scene in scenes
    ]
    for shown in (scenes, taught):
        for scene, video in zip(shown, render(shown, *size)):
            finding = detect(video, taught=True)
            for attribute in ("colour", "background", "shape", "motion"):
                assert getattr(finding, attribute) == getattr(scene, attribute), scene
            if shown is taught:
                assert (detect(video).colour, detect(video).background) == (NONE, NONE)


@pytest.mark.parametrize("strength", [0.05, 0.2, 0.5, 1.0])
def test_detector_calls_noise_nothing(strength):
    torch.manual_seed(0)
    finding = detect(torch.randn(3, 17, 64, 64) * strength)
    assert (finding.colour, finding.shape, finding.strict_shape, finding.motion) == (NONE,) * 4


def test_detector_calls_a_smooth_random_picture_nothing():
    torch.manual_seed(0)
    blobs = torch.nn.functional.interpolate(torch.randn(1, 3, 5, 8, 8), (17, 64, 64), mode="trilinear")[0]
    finding = detect(blobs.clamp(-1, 1))
    assert NONE in (finding.colour, finding.background, finding.shape, finding.motion)


def test_two_shapes_are_not_one():
    rng = np.random.default_rng(4)
    scenes = [sample_scene(rng) for _ in range(16)]
    clips = render(scenes, 5, 64, 64)
    for left, right in zip(clips[::2], clips[1::2]):
        both = torch.cat([left[..., ::2], right[..., ::2]], dim=-1)
        finding = detect(both)
        assert NONE in (finding.colour, finding.background, finding.shape, finding.motion) or finding.overlap < 0.75


def test_held_out_combinations_never_appear_in_training():
    rng = np.random.default_rng(1)
    for _ in range(500):
        scene = sample_scene(rng)
        assert not is_held_out(scene.colour, scene.background, scene.shape, scene.motion)


def test_about_one_combination_in_six_is_held_out():
    combinations = [(c, "white", s, m) for c in ("red", "green", "blue", "black") for s in SHAPES for m in MOTIONS]
    share = np.mean([is_held_out(*combination) for combination in combinations])
    assert 0.08 < share < 0.28


def test_shapes_stay_inside_the_frame():
    rng = np.random.default_rng(2)
    scenes = [sample_scene(rng, aspect=1.5) for _ in range(64)]
    video = render(scenes, 9, 64, 96)
    border = torch.cat([video[..., 0, :].flatten(2), video[..., -1, :].flatten(2), video[..., 0].flatten(2)], dim=-1)
    assert torch.equal(border.amin(-1), border.amax(-1))


def test_captions_name_only_what_the_scene_shows():
    rng = np.random.default_rng(3)
    names = ("red", "green", "blue", "yellow", "orange", "pink", "white", "black")
    for _ in range(300):
        scene = sample_scene(rng)
        words = caption(scene, rng).text.lower().replace(",", " ").replace(".", " ").split()
        assert {word for word in words if word in names} <= {scene.colour, scene.background}
