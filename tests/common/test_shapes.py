"""The size rules of clips and latents."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from wan_director.common.errors import InvalidInputError, WanDirectorError
from wan_director.common.families import FAMILIES
from wan_director.common.shapes import check_frames, check_size, latent_frames, video_frames


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
