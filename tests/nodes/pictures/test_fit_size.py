"""Wan Fit Size: the sizes it finds, the picture it gives, and what it refuses; the rules are tested in common."""

from __future__ import annotations

import logging
import re

import pytest
import torch
from wan_director.common.errors import InvalidInputError
from wan_director.common.log import logger
from wan_director.common.shapes import nearest_size_of_area, size_of_area
from wan_director.media.pictures import fit_pictures
from wan_director.nodes.pictures.fit_size import AREAS, OFFICIAL_SIZES, WAYS

from ..conftest import call, load_vae, picture

pytestmark = pytest.mark.usefixtures("inference")
SMALL = {"area": "megapixels", "megapixels": 64 * 64 / 1024**2}


def fitted(width: int = 100, height: int = 60, frames: int = 1, **changed):
    inputs = {
        "area": AREAS[0], "megapixels": 0.4, "how": "keep shape", "multiple": 16, "fit": "crop", **changed
    }  # fmt: skip
    return call("FitSize", image=picture(frames, height, width), **inputs)


def size_for(*inputs, **changed) -> tuple[int, int]:
    return tuple(fitted(*inputs, **changed)[:2])


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("frames", [1, 5])
def test_the_picture_has_the_size_as_wan_image_to_video_would_fit_it(fit, frames):
    width, height, images = fitted(100, 60, frames, fit=fit, **SMALL)
    assert (width, height) == (80, 48)
    assert torch.equal(images, fit_pictures(picture(frames, 60, 100), 80, 48, fit))


def test_a_picture_of_the_right_size_is_not_changed():
    width, height, images = fitted(64, 64, **SMALL)
    assert (width, height) == (64, 64) and torch.equal(images, picture(1, 64, 64))


@pytest.mark.parametrize(("area", "official"), OFFICIAL_SIZES.items())
def test_areas_are_those_of_the_official_sizes(area, official):
    pixels = official.width * official.height
    for have in ((120, 68), (68, 120), (90, 90), (200, 60)):
        assert size_for(*have, area=area) == size_of_area(official._make(have), pixels, 16)
        assert size_for(*have, area=area, multiple=32) == nearest_size_of_area(official._make(have), pixels, 32)
    assert size_for(official.width // 16, official.height // 16, area=area) == official


def test_a_vae_brings_its_multiple():
    ti2v = load_vae("wan22_vae.safetensors")
    assert size_for(120, 68, vae=ti2v) == size_for(120, 68, multiple=32)
    assert size_for(120, 68, vae=ti2v, multiple=48) == size_for(120, 68, multiple=96)
    assert size_for(120, 68, vae=load_vae("vae.safetensors")) == size_for(120, 68)


def test_never_enlarge_takes_no_more_pixels_than_there_are():
    assert size_for(160, 96, how=WAYS[1]) == (160, 96)
    assert size_for(170, 100, how=WAYS[1]) == (160, 96)
    assert size_for(170, 100, how=WAYS[1], **SMALL) == size_for(170, 100, **SMALL)


def test_the_official_size_lies_or_stands_as_the_picture_does():
    for area, (width, height) in OFFICIAL_SIZES.items():
        for have in ((100, 60), (70, 70)):
            assert size_for(*have, area=area, how="official size") == (width, height)
        assert size_for(60, 100, area=area, how="official size") == (height, width)


def test_the_log_says_what_is_cut_off(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, logger.name)
    fitted(100, 50, **SMALL)
    fitted(100, 50, fit="stretch", **SMALL)
    said = [record.getMessage() for record in caplog.records if "Wan Fit Size" in record.getMessage()]
    assert said == [
        "Wan Fit Size: 80 x 32 for a picture of 100 x 50; 20.0 % of it are cut off.",
        "Wan Fit Size: 80 x 32 for a picture of 100 x 50.",
    ]


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"how": "official size", "area": "megapixels"}, "how 'official size' needs an official area, got"),
        ({"how": "official size", "area": AREAS[1], "multiple": 32}, "must be a multiple of 32 pixels, got 720."),
        ({"how": "bigger"}, "The way (how) is one of keep shape, keep shape, never enlarge, official size, got"),
        ({"area": "360p"}, "The area is one of 480p (832 x 480)"),
        ({"fit": "squeeze"}, "The fit is one of crop, pad, stretch, got 'squeeze'."),
        ({"multiple": 24}, "multiple must be 16, 32, 48, ..., got 24. Use 16, or 32 for TI2V-5B."),
        ({"multiple": 0}, "multiple must be 16, 32, 48, ..., got 0."),
        ({"multiple": "16"}, "multiple must be a number, got a text."),
        ({"area": "megapixels", "megapixels": 0}, "megapixels must be above 0 and at most 64, got 0. Use 0.4"),
        ({"area": "megapixels", "megapixels": float("nan")}, "megapixels must be above 0 and at most 64, got nan."),
        ({"area": "megapixels", "megapixels": 0.0005}, "and sides are 32 to 8192. Use a larger area"),
        ({"width": 4000, "height": 2}, "A picture of 4000 x 2 pixels would become"),
        ({"vae": "a vae"}, "The VAE must be one for Wan, got a text."),
    ],
)  # fmt: skip
def test_mistakes_are_refused(inputs, words):
    with pytest.raises(InvalidInputError, match=re.escape(words)):
        fitted(**inputs)
