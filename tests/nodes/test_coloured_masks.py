"""Wan Coloured Masks and ComfyUI's SCAIL2ColoredMask: who gets which colour, on which ground, and what is refused."""

from __future__ import annotations

import logging
import re

import pytest
import torch
from wan_director.common.errors import WanDirectorError
from wan_director.nodes.control.colours import NAMES, PERSONS
from wan_director.nodes.headless.core_nodes import CORE_NODES

from .conftest import call
from .persons import masks, person, track, walkers


def test_persons_get_the_colours_in_order_on_both_grounds():
    animated, replaced = masks(persons=3), masks(persons=3, replaces=True)
    for shown, grounds in ((animated, (0.0, 1.0)), (replaced, (1.0, 0.0))):
        for (name, pictures), ground in zip(shown.items(), grounds):
            assert pictures[0, 0, 0].tolist() == [ground] * 3, name
            colours = {tuple(pixel.tolist()) for pixel in pictures.reshape(-1, 3).unique(dim=0)}
            assert colours == {(ground,) * 3, *(PERSONS[each] for each in NAMES[:3])}
    assert torch.equal(animated["pose_video_mask"][3, 50, 20 - 10], torch.tensor(PERSONS["blue"]))


def test_who_was_there_first_stays_in_front():
    one, two = torch.zeros(1, 4, 8), torch.zeros(1, 4, 8)
    one[..., :5], two[..., 3:] = 1, 1
    usual = {"replacement_mode": False, "sort_by": "none", "persons": ""}
    first = call("ColouredMasks", colour="red", pose_mask=one, reference_mask=one, **usual)
    both = call(
        "ColouredMasks", colour="next", pose_mask=two, reference_mask=two, **usual, pose_video_mask=first[0],
        reference_image_mask=first[1],
    )  # fmt: skip
    for pictures in both:
        assert pictures[0, 0, 4].tolist() == [1, 0, 0] and pictures[0, 0, 5].tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("sort_by", "persons", "expected"),
    [
        ("left to right", "", {1: "blue", 0: "red", 2: "green"}),
        ("area", "", {0: "blue", 1: "red", 2: "green"}),
        ("none", "", {0: "blue", 1: "red", 2: "green"}),
        ("left to right", "1, 2", {0: "blue", 2: "red"}),
    ],
)
def test_tracks_of_sam3_are_painted_in_their_order(sort_by, persons, expected):
    usual = {"colour": "next", "replacement_mode": False, "sort_by": sort_by, "persons": persons}
    video, pictures = call("ColouredMasks", tracks=track(walkers()), reference_tracks=track(walkers()[:1]), **usual)
    at = {0: (8, 25), 1: (6, 4), 2: (6, 12)}
    for number, place in at.items():
        for shown, ground in ((video[4], 0.0), (pictures[0], 1.0))[: 1 if number == 2 else 2]:
            colour = PERSONS[expected[number]] if number in expected else (ground,) * 3
            assert shown[place].tolist() == list(colour)
    native = CORE_NODES["SCAIL2ColoredMask"].execute(
        driving_track_data=track(walkers()), ref_track_data=track(walkers()[:1]), object_indices=persons,
        sort_by=sort_by.replace(" ", "_"), replacement_mode=False,
    ).args  # fmt: skip
    assert torch.equal(native[0], video) and torch.equal(native[1], pictures)


def test_tracks_come_to_the_size_of_their_video_and_a_mask_is_one_more_person():
    usual = {"colour": "next", "replacement_mode": True, "sort_by": "none", "persons": "0"}
    mask = torch.zeros(5, 32, 64)
    mask[:, :8, :8] = 1
    video, pictures = call("ColouredMasks", tracks=track(walkers(), (32, 64)), pose_mask=mask, **usual)
    assert video.shape == (5, 32, 64, 3) and pictures.shape == (1, 32, 64, 3) and not pictures.any()
    assert video[0, 16, 50].tolist() == [0, 0, 1] and video[0, 2, 2].tolist() == [1, 0, 0]
    nobody = {"packed_masks": None, "orig_size": (32, 64), "n_frames": 3}
    empty = call("ColouredMasks", tracks=nobody, **{**usual, "persons": ""})[0]
    assert empty.shape == (3, 32, 64, 3) and (empty == 1).all()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "Nobody is given"),
        ({"pose_mask": "mask"}, "pose_mask must be"),
        ({"pose_mask": torch.zeros(2, 3, 4, 5)}, "pose_mask must be a mask"),
        ({"pose_mask": torch.full((1, 4, 8), float("nan"))}, "pose_mask holds NaN or infinity"),
        ({"reference_mask": torch.full((1, 4, 8), float("inf"))}, "reference_mask holds NaN or infinity"),
        (
            {"pose_mask": person(9), "persons": "0, 1"},
            r"who of tracks is taken \('0, 1'\), and no tracks are connected",
        ),
        ({"tracks": [1]}, "tracks must be a track of SAM3, got a list"),
        ({"tracks": {"packed_masks": torch.zeros(2, 2), "orig_size": (4, 8)}}, "must be bits"),
        ({"tracks": track(walkers()), "persons": "0, 7"}, "persons names number 7, but there are 3"),
        ({"tracks": track(walkers()), "persons": "one"}, "persons must be numbers"),
        ({"tracks": track(torch.ones(1, 7, 8, 8))}, "All 6 colours of persons"),
        ({"pose_mask": person(9), "pose_video_mask": torch.zeros(7, 96, 64, 3)}, "do not go together: 7 of 64 x 96"),
        ({"pose_mask": person(9), "pose_video_mask": torch.ones(9, 96, 64, 3)}, "has a white ground, .* it is black"),
    ],
)
def test_bad_masks_are_refused_in_a_sentence(given, words):
    usual = {"colour": "next", "replacement_mode": False, "sort_by": "none", "persons": ""}
    with pytest.raises(WanDirectorError, match=words):
        call("ColouredMasks", **{**usual, **given})


@pytest.mark.parametrize(("moving", "shown"), [(3, 1), (1, 3)])
def test_persons_who_are_in_one_of_both_tracks_alone_are_told(moving, shown, caplog):
    usual = {"colour": "next", "replacement_mode": False, "sort_by": "none", "persons": ""}
    tracks = {"tracks": track(walkers()[:, :moving]), "reference_tracks": track(walkers()[:1, :shown])}
    with caplog.at_level(logging.WARNING, logger="wan_director"):
        call("ColouredMasks", **tracks, **usual)
        more, fewer = ("tracks", "reference_tracks") if moving > shown else ("reference_tracks", "tracks")
        said = (
            f"tracks have {moving} persons and reference_tracks {shown}, .* the last 2 of {more} have nobody in {fewer}"
        )
        assert re.search(said, caplog.text)
        caplog.clear()
        call("ColouredMasks", **tracks, **{**usual, "persons": "0"})
        assert not caplog.text
