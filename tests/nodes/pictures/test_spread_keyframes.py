"""Wan Spread Keyframes: where the pictures stand, what it equals, and what it refuses."""

from __future__ import annotations

import re

import pytest
import torch
from wan_director import NODE_CLASS_MAPPINGS as NODES
from wan_director.common.errors import InvalidInputError
from wan_director.nodes.pictures.spreading import spread_evenly

from ..conftest import call, load_vae, picture

pytestmark = pytest.mark.usefixtures("inference")


def spread(count: int = 3, frames: int = 17, places: str = "", fps: float = 16.0, **more):
    return call("SpreadKeyframes", images=picture(count), frames=frames, places=places, fps=fps, **more)


def places_of(*inputs, **more) -> list[int]:
    keyframes, _ = spread(*inputs, **more)
    return [keyframe.frame for keyframe in keyframes]


def chain(pictures: torch.Tensor, frames: list[int]):
    keyframes = ()
    for index, frame in enumerate(frames):
        keyframes = call("Keyframe", image=pictures[index : index + 1], frame=frame, keyframes=keyframes)
    return keyframes


@pytest.mark.parametrize(
    ("places", "stand"),
    [("", [0, 8, 16]), ("0, 5, 12", [0, 5, 12]), ("0s, 50%, 100%", [0, 8, 16]), ("16,0,3", [16, 0, 3])],
)
def test_it_is_a_chain_of_keyframes_to_the_bit(places, stand):
    pictures = torch.cat([picture(2), picture(1).flip(1)])
    ours, frames = call("SpreadKeyframes", images=pictures, frames=17, places=places, fps=16.0)
    theirs = chain(pictures, stand)
    assert frames == 17 and [each.frame for each in ours] == stand
    assert all(torch.equal(a.image, b.image) for a, b in zip(ours, theirs, strict=True))
    sides = call("TextEncode", text_encoder=call(
        "LoadTextEncoder", text_encoder_name="text.safetensors", precision="auto", device="auto"
    ), positive="a ball", negative="")  # fmt: skip
    prepared = [
        call(
            "ImageToVideo", positive=sides[0], negative=sides[1], vae=load_vae("vae.safetensors"), width=64, height=48,
            frames=17, batch_size=1, fit="crop", keyframes=keyframes,
        )
        for keyframes in (ours, theirs)
    ]  # fmt: skip
    for key in ("concat_latent_image", "concat_mask"):
        a, b = (each[0][0][1][key] for each in prepared)
        assert torch.equal(a, b)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 17])
@pytest.mark.parametrize("frames", [17, 33, 81, 121])
def test_evenly_spread_pictures_reach_from_the_first_frame_to_the_last(count, frames):
    places = spread_evenly(count, frames)
    assert places == tuple(round(i * (frames - 1) / (count - 1)) for i in range(count)) if count > 1 else places == (0,)
    assert len(set(places)) == count and list(places) == sorted(places)
    assert places[0] == 0 and (count == 1 or places[-1] == frames - 1)


def test_as_many_pictures_as_frames_have_a_frame_each():
    for frames in range(1, 130, 4):
        assert spread_evenly(frames, frames) == tuple(range(frames))
        assert all(len(set(spread_evenly(count, frames))) == count for count in range(1, frames + 1))


def test_places_are_frames_seconds_and_parts():
    assert places_of(2, 81, "0, 80") == [0, 80]
    assert places_of(3, 81, "0s, 1.5 s, 5s") == [0, 24, 80]
    assert places_of(3, 121, "0s, 1.5s, 5s", fps=24.0) == [0, 36, 120]
    assert places_of(3, 81, "0%, 12.5 %, 100%") == [0, 10, 80]
    assert places_of(3, 81, "0,\n 24 ,80\n") == [0, 24, 80]


def test_keyframes_come_before_the_spread_ones():
    before = call("Keyframe", image=picture(1), frame=5)
    keyframes, _ = spread(2, keyframes=before)
    assert [each.frame for each in keyframes] == [5, 0, 16]


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"count": 18}, "18 pictures have no room in 17 frames. Give fewer pictures, or make the clip longer."),
        ({"places": "0, 16"}, "There are 3 pictures and 2 places. Write one place for each picture"),
        ({"places": "0, 4, 8, 16"}, "There are 3 pictures and 4 places."),
        ({"places": ","}, "There are 3 pictures and 0 places."),
        ({"places": "0, 0.5s, 8"}, "The places '0.5s' and '8' are both frame 8. Give each picture a frame of its own."),
        ({"places": "0, 8, 17"}, "The place frame 17 is outside the clip, whose 17 frames are 0 to 16."),
        ({"places": "0, 8, 2s"}, "The place 2 s (frame 32) is outside the clip"),
        ({"places": "0, 50%, 101%"}, "The place 101 % (frame 16.16) is outside the clip"),
        ({"places": "0, 8, -1"}, "'-1' is no place in a clip. Write frames, seconds or parts of the clip with commas"),
        ({"places": "0, mid, 16"}, "'mid' is no place in a clip."),
        ({"places": "0, 1.5, 16"}, "A place is '1.5', and a time without s or % is a whole frame. Did you mean 1.5s?"),
        ({"frames": 18}, "A clip has 1 + 4k frames, got 18. Use 17 or 21."),
        ({"frames": 10001}, "The length must be at most"),
        ({"places": None}, "places must be a text, got nothing."),
        ({"fps": "8"}, "fps must be a number, got a text."),
        ({"fps": 0.0}, "fps must be from 1 to 1000, got 0. Use 16, or 24 for TI2V-5B."),
    ],
)  # fmt: skip
def test_mistakes_are_refused(inputs, words):
    with pytest.raises(InvalidInputError, match=re.escape(words)):
        spread(**inputs)


def test_a_wrong_length_is_refused_before_the_run():
    with pytest.raises(InvalidInputError, match="got 18"):
        NODES["WanDirectorSpreadKeyframes"].validate_inputs(frames=18)
    assert NODES["WanDirectorSpreadKeyframes"].validate_inputs() is True
