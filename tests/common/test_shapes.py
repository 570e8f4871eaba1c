"""The size rules of clips and latents."""

from decimal import ROUND_FLOOR, Decimal, localcontext
from fractions import Fraction
from math import isqrt

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from wan_director.common.errors import InvalidInputError, WanDirectorError
from wan_director.common.families import FAMILIES
from wan_director.common.shapes import (
    PictureSize,
    check_frames,
    check_size,
    latent_frames,
    nearest_size_of_area,
    size_of_area,
    video_frames,
)


@given(st.integers(min_value=-50, max_value=100_000))
def test_only_clips_of_1_plus_4k_frames_are_accepted(frames):
    if frames >= 1 and frames % 4 == 1:
        assert video_frames(latent_frames(frames)) == frames
        return
    with pytest.raises(InvalidInputError):
        check_frames(frames)


def test_a_wrong_clip_length_names_both_neighbours():
    with pytest.raises(InvalidInputError, match=r"A clip has 1 \+ 4k frames, got 80\. Use 77 or 81\."):
        check_frames(80)


@given(st.integers(min_value=-100, max_value=10_000))
def test_sizes_are_multiples_of_16_and_at_least_32(value):
    if value >= 32 and value % 16 == 0:
        check_size(value, 64)
        check_size(64, value)
        return
    with pytest.raises(WanDirectorError):
        check_size(value, 64)
    with pytest.raises(WanDirectorError):
        check_size(64, value)


def test_the_suggested_sizes_are_themselves_accepted():
    with pytest.raises(InvalidInputError, match="Use 832 or 848"):
        check_size(840, 480)
    check_size(832, 848)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
def test_denormalize_undoes_normalize(family):
    latent = torch.randn(2, family.latent_channels, 3, 4, 5, dtype=torch.float64)
    assert torch.allclose(family.denormalize(family.normalize(latent)), latent, rtol=0, atol=1e-12)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
def test_a_preview_is_a_picture_per_latent_frame(family):
    picture = family.preview(10 * torch.randn(1, family.latent_channels, 3, 4, 5))
    assert picture.shape == (1, 3, 4, 5, 3)
    assert picture.min() >= 0 and picture.max() <= 1


AREAS = (832 * 480, 1280 * 720, 1280 * 704, 640 * 640)
PICTURES = [PictureSize(width, height) for width in range(97, 4000, 61) for height in range(101, 4000, 67)]


def exact(number: Decimal) -> int:
    return int(number.to_integral_value(ROUND_FLOOR))


def official_i2v(picture: PictureSize, area: int) -> tuple[int, int]:
    """As wan/image2video.py has it for strides of 8 and patches of 2, with 60 digits instead of a float's 16."""
    aspect = Decimal(picture.height) / picture.width
    rows, columns = (exact((area * each).sqrt() / 16) * 2 for each in (aspect, 1 / aspect))
    return columns * 8, rows * 8


def official_i2v_float(picture: PictureSize, area: int) -> tuple[int, int]:
    aspect = picture.height / picture.width
    rows, columns = (round(np.sqrt(each) // 8 // 2 * 2) for each in (area * aspect, area / aspect))
    return columns * 8, rows * 8


def official_ti2v(picture: PictureSize, area: int) -> tuple[int, int]:
    """As wan/utils/utils.py has it for TI2V-5B, where a float may do: see the test."""
    ratio = picture.width / picture.height
    wide = (area * ratio) ** 0.5
    tall = area / wide
    first = int(wide // 32 * 32), int(area / int(wide // 32 * 32) // 32 * 32)
    second = int(area / int(tall // 32 * 32) // 32 * 32), int(tall // 32 * 32)
    stretched = [max(ratio / (w / h), (w / h) / ratio) for w, h in (first, second)]
    return first if stretched[0] < stretched[1] else second


def cuts_at(picture: PictureSize, area: int, multiple: int) -> bool:
    """Whether a side is a multiple without any cut, where a float may round to the one below."""
    return any(
        isqrt(numerator // denominator) ** 2 * denominator == numerator
        and isqrt(numerator // denominator) % multiple == 0
        for numerator, denominator in (
            (area * picture.width, picture.height),
            (area * picture.height, picture.width),
        )
    )


@pytest.mark.parametrize("area", AREAS)
def test_sizes_of_an_area_are_those_of_the_official_script(area):
    with localcontext() as context:
        context.prec = 60
        exactly = [official_i2v(picture, area) for picture in PICTURES]
    ours = [size_of_area(picture, area) for picture in PICTURES]
    assert ours == exactly
    in_float = [official_i2v_float(picture, area) for picture in PICTURES]
    others = [picture for picture, a, b in zip(PICTURES, ours, in_float) if a != b]
    assert [picture for picture in others if not cuts_at(picture, area, 16)] == []


def test_an_official_size_stays_itself_where_a_float_cuts_it():
    for width, height in ((832, 480), (480, 832), (1280, 720), (720, 1280), (1280, 704), (640, 640)):
        assert size_of_area(PictureSize(width, height), width * height) == (width, height)
        assert nearest_size_of_area(PictureSize(2 * width, 2 * height), width * height, 16) == (width, height)
    assert official_i2v_float(PictureSize(832, 480), 832 * 480) == (832, 464)
    assert size_of_area(PictureSize(1920, 1080), 832 * 480) == (832, 464)


@pytest.mark.parametrize("area", AREAS)
def test_sizes_for_ti2v_5b_are_those_of_the_official_script(area):
    """Two ways equally near in shape are told apart by a float's last digit; those have no side that differs more."""
    for picture in PICTURES:
        ours, official = nearest_size_of_area(picture, area), official_ti2v(picture, area)
        if ours != official:
            stretched = [Fraction(picture.width * h, picture.height * w) for w, h in (ours, official)]
            assert len({max(each, 1 / each) for each in stretched}) == 1 or cuts_at(picture, area, 32)


@given(
    width=st.integers(300, 5000), height=st.integers(300, 5000), area=st.sampled_from(AREAS),
    multiple=st.sampled_from((16, 32, 64)),
)  # fmt: skip
def test_sizes_of_an_area_fit_and_turn_with_the_picture(width, height, area, multiple):
    picture, turned = PictureSize(width, height), PictureSize(height, width)
    for rule in (size_of_area, nearest_size_of_area):
        size = rule(picture, area, multiple)
        assert size.width * size.height <= area
        assert size.width % multiple == size.height % multiple == 0
    assert size_of_area(turned, area, multiple) == tuple(reversed(size_of_area(picture, area, multiple)))


def test_pictures_that_no_video_can_follow_are_refused():
    for rule in (size_of_area, nearest_size_of_area):
        with pytest.raises(InvalidInputError, match=r"A picture of 9000 x 10 pixels would become .* cut the picture"):
            rule(PictureSize(9000, 10), 832 * 480)
        with pytest.raises(InvalidInputError, match="in an area of 400 pixels, and sides are 32 to 8192"):
            rule(PictureSize(100, 100), 400)
