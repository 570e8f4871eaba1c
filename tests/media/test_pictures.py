"""Pictures are checked and brought to the video's size by the stated rule."""

from __future__ import annotations

import logging

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from wan_director.common.errors import InvalidInputError
from wan_director.media.pictures import clean_clip, clean_image, fit_pictures


def picture(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def test_picture_of_the_right_size_is_untouched():
    pixels = picture(2, 48, 64, 3)
    for fit in ("crop", "pad", "stretch"):
        assert fit_pictures(pixels, 64, 48, fit) is pixels


def test_stretch_is_antialiased_bicubic():
    pixels = picture(1, 100, 60, 3)
    expected = F.interpolate(pixels.movedim(-1, 1), (32, 64), mode="bicubic", antialias=True).clamp(0, 1).movedim(1, -1)
    assert torch.equal(fit_pictures(pixels, 64, 32, "stretch"), expected)


def test_crop_keeps_the_centre():
    wide = picture(1, 50, 200, 3)
    assert torch.equal(fit_pictures(wide, 50, 50, "crop"), wide[:, :, 75:125])
    tall = picture(1, 200, 50, 3)
    assert torch.equal(fit_pictures(tall, 50, 50, "crop"), tall[:, 75:125])


def test_pad_keeps_the_whole_picture_between_black_bars():
    white = torch.ones(1, 50, 100, 3)
    fitted = fit_pictures(white, 64, 64, "pad")
    assert torch.allclose(fitted[:, 16:48], white[:, :32, :64])
    assert (fitted[:, :16] == 0).all() and (fitted[:, 48:] == 0).all()


@settings(max_examples=60)
@given(
    height=st.integers(1, 90), width=st.integers(1, 90), fit=st.sampled_from(["crop", "pad", "stretch"]),
    new_height=st.integers(1, 60), new_width=st.integers(1, 60),
)  # fmt: skip
def test_any_picture_fits(height, width, fit, new_height, new_width):
    fitted = fit_pictures(picture(1, height, width, 3), new_width, new_height, fit)
    assert fitted.shape == (1, new_height, new_width, 3)
    assert fitted.min() >= 0 and fitted.max() <= 1


def test_grey_is_expanded_and_transparency_lies_over_black():
    grey = picture(1, 4, 4, 1)
    assert torch.equal(clean_clip(grey, "x"), grey.expand(-1, -1, -1, 3))
    rgba = picture(1, 4, 4, 4)
    assert torch.equal(clean_clip(rgba, "x"), rgba[..., :3] * rgba[..., 3:])


def test_transparency_lies_over_white_where_that_is_asked_for():
    rgba = picture(1, 4, 4, 4)
    expected = rgba[..., :3] * rgba[..., 3:] + (1 - rgba[..., 3:])
    assert torch.allclose(clean_clip(rgba, "x", ground=1.0), expected)


def test_transparent_parts_are_noted(caplog):
    with caplog.at_level(logging.INFO, "wan_director"):
        clean_clip(torch.ones(1, 2, 2, 4), "opaque")
        clean_clip(torch.zeros(1, 2, 2, 4), "start_image")
    assert "opaque" not in caplog.text
    assert "start_image has transparent parts; they lie over black" in caplog.text


def test_of_several_pictures_the_first_is_used_with_a_note(caplog):
    pixels = picture(5, 4, 4, 3)
    with caplog.at_level(logging.INFO, "wan_director"):
        assert torch.equal(clean_image(pixels, "keyframe 3"), pixels[:1])
    assert "keyframe 3 holds 5 pictures; the first is used" in caplog.text


def test_values_outside_the_range_are_cut_with_a_note(caplog):
    with caplog.at_level(logging.INFO, "wan_director"):
        assert clean_clip(torch.full((1, 2, 2, 3), 7.0), "image").max() == 1
    assert "values from 7 to 7" in caplog.text


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (torch.zeros(0, 4, 4, 3), "must be pictures"),
        (torch.zeros(4, 4, 3), "must be pictures"),
        (torch.zeros(1, 4, 4, 5), "5 channels"),
        (torch.full((1, 4, 4, 3), float("nan")), "48 values that are NaN"),
        (torch.full((1, 1, 1, 3), float("inf")), "3 values that are NaN or infinite"),
    ],
)
def test_bad_pictures_are_refused(images, words):
    with pytest.raises(InvalidInputError, match=words):
        clean_clip(images, "start_image")
