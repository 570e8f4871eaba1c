"""ComfyUI's nodes that prepare, encode and decode Wan videos give what they give there; restated from its v0.33.0."""

from __future__ import annotations

import logging

import pytest
import torch
from torch.nn import functional as F
from wan_director.common.errors import PairingError

from ..conftest import call, picture
from .conftest import SIZE, core, vae

pytestmark = pytest.mark.usefixtures("inference")


def fitted(images: torch.Tensor, width: int, height: int) -> torch.Tensor:
    """ComfyUI's common_upscale, bilinear and centred, of pictures that need no cut."""
    return F.interpolate(images.movedim(-1, 1), (height, width), mode="bilinear").movedim(1, -1)


def test_a_start_image_is_given_as_comfyui_gives_it(prompts):
    start, encoder = picture(3, 96, 128), vae()
    positive, negative, latent = core("WanImageToVideo", **prompts, vae=encoder, **SIZE, start_image=start)
    clip = torch.full((9, 48, 64, 3), 0.5)
    clip[:3] = fitted(start, 64, 48)
    values = positive[0][1]
    assert torch.equal(values["concat_latent_image"], encoder.encode(clip))
    assert values["concat_mask"].shape == (1, 1, 3, 6, 8)
    assert values["concat_mask"][0, 0, :, 0, 0].tolist() == [0, 1, 1]
    assert negative[0][1]["concat_latent_image"] is values["concat_latent_image"]
    assert latent["samples"].shape == (1, 16, 3, 6, 8) and not latent["samples"].any()
    assert "concat_latent_image" not in prompts["positive"][0][1]


def test_start_and_end_are_given_as_comfyui_gives_them(prompts):
    start, end, encoder = picture(1), picture(2), vae()
    inputs = {**prompts, "vae": encoder, **SIZE, "start_image": start, "end_image": end}
    positive, _, _ = core("WanFirstLastFrameToVideo", **inputs)
    clip = torch.full((9, 48, 64, 3), 0.5)
    clip[:1], clip[-2:] = start, end
    values = positive[0][1]
    assert torch.equal(values["concat_latent_image"], encoder.encode(clip))
    assert values["concat_mask"].shape == (1, 4, 3, 6, 8)
    assert values["concat_mask"][0, :, :, 2, 3].T.tolist() == [[0, 0, 0, 0], [1, 1, 1, 1], [1, 1, 0, 0]]
    same, _, _ = core("WanFunInpaintToVideo", **inputs)
    assert torch.equal(same[0][1]["concat_mask"], values["concat_mask"])
    nothing, _, _ = core("WanFirstLastFrameToVideo", **prompts, vae=encoder, **SIZE)
    assert nothing[0][1]["concat_mask"].eq(1).all()


def test_a_length_that_is_none_is_told(prompts, caplog):
    with caplog.at_level(logging.WARNING, logger="wan_director"):
        *_, latent = core("WanImageToVideo", **prompts, vae=vae(), **{**SIZE, "length": 8}, start_image=picture(1))
    assert latent["samples"].shape[2] == 2 and "with length 8 it gets 5" in caplog.text


def test_a_control_video_is_prepared_as_comfyui_prepares_it(prompts):
    encoder, control, masks, shown = vae(), picture(4), torch.rand(2, 48, 64), picture(1)
    positive, _, latent, trim = core(
        "WanVaceToVideo", **prompts, vae=encoder, **SIZE, strength=0.8, control_video=control, control_masks=masks,
        reference_image=shown,
    )  # fmt: skip
    video, mask = torch.full((9, 48, 64, 3), 0.5), torch.ones(9, 48, 64)
    video[:4], mask[:2] = control, masks
    video, soft = video - 0.5, mask[..., None]
    halves = torch.cat([encoder.encode(video * (1 - soft) + 0.5), encoder.encode(video * soft + 0.5)], dim=1)
    nothing = encoder.family.denormalize(torch.zeros(1, 16, 1, 6, 8))
    reference = torch.cat([encoder.encode(shown), nothing], dim=1)
    values = positive[0][1]
    assert torch.allclose(values["vace_frames"][0], torch.cat([reference, halves], dim=2), atol=1e-5)
    squares = mask.view(9, 6, 8, 8, 8).permute(2, 4, 0, 1, 3).reshape(64, 9, 6, 8)
    squares = F.interpolate(squares[None], size=(3, 6, 8), mode="nearest-exact")
    assert torch.equal(values["vace_mask"][0], torch.cat([torch.zeros(1, 64, 1, 6, 8), squares], dim=2))
    assert values["vace_strength"] == [0.8] and trim == 1 and latent["samples"].shape[2] == 4


def test_references_are_decoded_until_they_are_trimmed(prompts):
    """As in ComfyUI, where the latent does not say what of it is a reference."""
    *_, latent, trim = call(
        "Vace", **prompts, vae=vae(), width=64, height=48, frames=9, batch_size=1, strength=1.0,
        reference_image=picture(1),
    )  # fmt: skip
    latent["samples"] = torch.randn(latent["samples"].shape)
    assert core("VAEDecode", samples=latent, vae=vae()).shape == (13, 48, 64, 3)
    trimmed = core("TrimVideoLatent", samples=latent, trim_amount=trim)
    assert torch.equal(trimmed["samples"], latent["samples"][:, :, 1:])
    assert core("VAEDecode", samples=trimmed, vae=vae()).shape == (9, 48, 64, 3)


def test_the_start_image_of_ti2v_is_put_into_its_latent():
    encoder, start = vae("wan22_vae.safetensors"), picture(1, 64, 64)
    size = {"width": 64, "height": 64, "length": 9}
    latent = core("Wan22ImageToVideoLatent", vae=encoder, **size, batch_size=2, start_image=start)
    assert latent["samples"].shape == (2, 48, 3, 4, 4) and latent["noise_mask"].shape == (2, 1, 3, 4, 4)
    assert latent["noise_mask"][0, 0, :, 0, 0].tolist() == [0, 1, 1]
    assert torch.equal(latent["samples"][1, :, :1], encoder.encode(start)[0])
    assert torch.equal(latent["samples"][:, :, 1:], encoder.family.denormalize(torch.zeros(2, 48, 2, 4, 4)))
    blank = core("Wan22ImageToVideoLatent", vae=encoder, **size, batch_size=2)
    assert blank["samples"].shape == (1, 48, 3, 4, 4) and "noise_mask" not in blank


def test_clips_are_encoded_and_decoded_as_by_our_nodes(caplog):
    clip, encoder = picture(9), vae()
    latent = core("VAEEncode", pixels=clip, vae=encoder)
    assert torch.equal(latent["samples"], call("Encode", vae=encoder, images=clip)["samples"])
    frames = core("VAEDecode", samples=latent, vae=encoder)
    assert torch.equal(frames, call("Decode", vae=encoder, latent=latent))
    tiles = {"tile_size": 64, "overlap": 0, "temporal_size": 8, "temporal_overlap": 4}
    with caplog.at_level(logging.INFO, logger="wan_director"):
        assert torch.equal(core("VAEDecodeTiled", samples=latent, vae=encoder, **tiles), frames)
    assert "sizes of tiles have no effect" in caplog.text
    assert torch.equal(core("VAEEncodeTiled", pixels=clip, vae=encoder, **tiles)["samples"], latent["samples"])


def test_a_latent_of_another_vae_is_refused():
    with pytest.raises(PairingError, match="channels"):
        core("VAEDecode", samples={"samples": torch.zeros(1, 16, 3, 6, 8)}, vae=vae("wan22_vae.safetensors"))


def test_conditioning_is_combined_concatenated_averaged_and_zeroed(prompts):
    ball, bad = prompts["positive"], prompts["negative"]
    assert core("ConditioningCombine", conditioning_1=ball, conditioning_2=bad) == [*ball, *bad]
    ((joined, _),) = core("ConditioningConcat", conditioning_to=ball, conditioning_from=bad)
    assert torch.equal(joined, torch.cat([ball[0][0], bad[0][0]], dim=1))
    short = [[bad[0][0][:, :5], {}]]
    ((mixed, _),) = core(
        "ConditioningAverage", conditioning_to=ball, conditioning_from=short, conditioning_to_strength=0.25
    )
    assert torch.allclose(mixed[:, :5], ball[0][0][:, :5] * 0.25 + bad[0][0][:, :5] * 0.75)
    assert torch.allclose(mixed[:, 5:], ball[0][0][:, 5:] * 0.25)
    pooled = [[ball[0][0], {**ball[0][1], "pooled_output": torch.ones(1, 4), "other": 3}]]
    ((nothing, values),) = core("ConditioningZeroOut", conditioning=pooled)
    assert not nothing.any() and not values["pooled_output"].any() and values["other"] == 3
    ((_, values),) = core("ConditioningSetTimestepRange", conditioning=ball, start=0.2, end=0.9)
    assert (values["start_percent"], values["end_percent"]) == (0.2, 0.9) and "start_percent" not in ball[0][1]


@pytest.mark.parametrize("feathering", [0, 3, 40])
@pytest.mark.parametrize("sides", [(4, 0, 0, 8), (0, 0, 0, 0), (8, 4, 4, 4)])
def test_pictures_are_padded_as_comfyui_pads_them(sides, feathering):
    left, top, right, bottom = sides
    image = picture(2, 10, 12)
    padded, mask = core(
        "ImagePadForOutpaint", image=image, left=left, top=top, right=right, bottom=bottom, feathering=feathering
    )
    expected = torch.full((2, 10 + top + bottom, 12 + left + right, 3), 0.5)
    expected[:, top : top + 10, left : left + 12] = image
    assert torch.equal(padded, expected)
    inside = torch.zeros(10, 12)
    if 0 < feathering * 2 < 10:
        for row in range(10):
            for column in range(12):
                away = [row if top else 10, 10 - row if bottom else 10]
                away += [column if left else 12, 12 - column if right else 12]
                inside[row, column] = max(0, (feathering - min(away)) / feathering) ** 2
    whole = torch.ones(1, 10 + top + bottom, 12 + left + right)
    whole[:, top : top + 10, left : left + 12] = inside
    assert torch.allclose(mask, whole)


def test_a_picture_is_joined_with_each_mask():
    image, mask = picture(1, 10, 12), torch.rand(3, 5, 6)
    joined = core("JoinImageWithAlpha", image=image, alpha=mask)
    assert joined.shape == (3, 10, 12, 4) and torch.equal(joined[2, ..., :3], image[0])
    assert torch.equal(joined[..., 3], 1 - F.interpolate(mask[:, None], (10, 12), mode="bilinear")[:, 0])
