"""Conditioning for a part of the latent's frames, and on a device."""

from __future__ import annotations

import pytest
import torch
from wan_director.common.errors import PairingError
from wan_director.dit.conditioning.clip_image import ClipImage
from wan_director.dit.conditioning.cut import Cut
from wan_director.dit.conditioning.start_image import KeyframeImages
from wan_director.dit.conditioning.vace import VaceControl
from wan_director.dit.inputs import Conditioning

CUT = Cut(2, 4, 5)
KEYFRAMES = KeyframeImages(torch.randn(1, 16, 5, 4, 6), torch.rand(1, 4, 5, 4, 6))
CONTROL = VaceControl(torch.randn(1, 96, 5, 4, 6), 0.5)
CLIP = ClipImage(torch.randn(1, 9, 8), torch.randn(1, 9, 8))


def test_a_window_cuts_what_goes_with_frames_and_keeps_the_rest():
    prompt = Conditioning(torch.randn(1, 7, 24), (KEYFRAMES, CLIP, CONTROL))
    keyframes, clip, control = prompt.window(CUT).items
    assert torch.equal(keyframes.latent, KEYFRAMES.latent[:, :, 2:4])
    assert torch.equal(keyframes.mask, KEYFRAMES.mask[:, :, 2:4])
    assert torch.equal(control.channels, CONTROL.channels[:, :, 2:4]) and control.strength == 0.5
    assert clip is CLIP and prompt.window(CUT).text is prompt.text


@pytest.mark.parametrize("item", [KEYFRAMES, CONTROL], ids=["keyframes", "control"])
def test_a_window_is_not_cut_from_conditioning_of_another_length(item):
    with pytest.raises(PairingError, match="made for 5 latent frames, but the latent has 7. Prepare it for a video of"):
        item.window(Cut(2, 4, 7))


def test_a_prompt_goes_to_a_device_with_all_it_holds():
    prompt = Conditioning(torch.zeros(1, 7, 24), (KEYFRAMES, CLIP, ClipImage(CLIP.features), CONTROL)).to(
        torch.device("meta")
    )
    keyframes, clip, start, control = prompt.items
    moved = (prompt.text, keyframes.latent, keyframes.mask, clip.features, clip.end_features, start.features)
    assert {tensor.device.type for tensor in (*moved, control.channels)} == {"meta"}
    assert start.end_features is None and control.strength == 0.5
