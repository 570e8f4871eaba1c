"""ComfyUI's nodes for the Fun family give what they give there; restated from its v0.33.0."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F
from wan_director.common.empty_tensors import EmptyTensors, empty
from wan_director.common.errors import InvalidInputError

from ..conftest import picture
from .conftest import SIZE, core, vae

pytestmark = pytest.mark.usefixtures("inference")


def zero_of_the_model(encoder) -> torch.Tensor:
    """The raw latent that is zero after normalising, of one frame."""
    return encoder.family.denormalize(torch.zeros(1, 16, 1, 6, 8))


def test_a_control_video_and_a_start_image_are_two_latents(prompts):
    encoder, control, start = vae(), picture(5), picture(1, 96, 128)
    positive, negative, latent = core(
        "WanFunControlToVideo", **prompts, vae=encoder, **{**SIZE, "batch_size": 2}, control_video=control,
        start_image=start,
    )  # fmt: skip
    channels, nothing = positive[0][1]["concat_latent_image"], zero_of_the_model(encoder)
    fitted = F.interpolate(start.movedim(-1, 1), (48, 64), mode="bilinear").movedim(1, -1)
    assert torch.equal(channels[:, :16], torch.cat([encoder.encode(control), nothing], dim=2))
    assert torch.equal(channels[:, 16:], torch.cat([encoder.encode(fitted), nothing, nothing], dim=2))
    assert negative[0][1]["concat_latent_image"] is channels and "concat_mask" not in positive[0][1]
    assert latent["samples"].shape == (2, 16, 3, 6, 8)
    (positive, _, _) = core("WanFunControlToVideo", **prompts, vae=encoder, **SIZE)
    assert torch.equal(positive[0][1]["concat_latent_image"], nothing.repeat(1, 2, 3, 1, 1))


def test_a_control_video_of_another_length_is_cut(prompts):
    encoder, control = vae(), picture(12)
    for given, used in ((control, 9), (control[:7], 5)):
        positive, *_ = core("WanFunControlToVideo", **prompts, vae=encoder, **SIZE, control_video=given)
        encoded = encoder.encode(control[:used])
        assert torch.equal(positive[0][1]["concat_latent_image"][:, :16, : encoded.shape[2]], encoded)


def test_a_reference_goes_with_a_control_video_of_wan_22(prompts):
    encoder, control, shown = vae(), picture(9), picture(2)
    positive, negative, latent = core(
        "Wan22FunControlToVideo", **prompts, vae=encoder, **SIZE, control_video=control, ref_image=shown
    )
    values, nothing = positive[0][1], zero_of_the_model(encoder)
    assert torch.equal(values["concat_latent_image"][:, :16], encoder.encode(control))
    assert torch.equal(values["concat_latent_image"][:, 16:], nothing.expand(-1, -1, 3, -1, -1))
    assert values["concat_mask"].shape == (1, 4, 3, 6, 8) and values["concat_mask"].eq(1).all()
    assert values["concat_mask_index"] == 16
    (reference,) = values["reference_latents"]
    assert torch.equal(reference, encoder.encode(shown[:1])) and len(negative[0][1]["reference_latents"]) == 1
    assert "reference_latents" not in prompts["positive"][0][1] and latent["samples"].shape == (1, 16, 3, 6, 8)
    plain, *_ = core("Wan22FunControlToVideo", **prompts, vae=encoder, **SIZE)
    assert "reference_latents" not in plain[0][1]


def test_a_camera_goes_with_a_start_image(prompts):
    encoder, start = vae(), picture(5)
    rays, *size = core("WanCameraEmbedding", camera_pose="Zoom In", width=64, height=48, length=9)
    assert rays.shape == (1, 24, 3, 48, 64) and size == [64, 48, 9]
    inputs = {**prompts, "vae": encoder, **SIZE, "camera_conditions": rays}
    positive, negative, _ = core("WanCameraImageToVideo", **inputs, start_image=start)
    values, nothing = positive[0][1], zero_of_the_model(encoder)
    assert torch.equal(values["concat_latent_image"], torch.cat([encoder.encode(start), nothing], dim=2))
    assert values["concat_mask"][0, :, :, 2, 3].T.tolist() == [[0] * 4, [0] * 4, [1] * 4]
    assert values["camera_conditions"] is rays is negative[0][1]["camera_conditions"]
    positive, *_ = core("WanCameraImageToVideo", **inputs)
    assert "concat_latent_image" not in positive[0][1] and positive[0][1]["camera_conditions"] is rays


def comfy_rays(way, turn, speed: float, lens, size: tuple[int, int], frames: int) -> torch.Tensor:
    """ComfyUI's steps, one frame and pixel grid at a time: [6, frames, H, W]."""
    height, width = size
    fx, fy, cx, cy = lens
    if width / height < 1280 / 720:
        fx = height * (1280 / 720) * fx / width
    else:
        fy = width / (1280 / 720) * fy / height
    columns, rows = torch.meshgrid(torch.arange(width) + 0.5, torch.arange(height) + 0.5, indexing="xy")
    ahead = torch.stack([(columns - cx * width) / (fx * width), (rows - cy * height) / (fy * height)])
    ahead = torch.cat([ahead, torch.ones(1, height, width)]).double()
    ahead = ahead / ahead.norm(dim=0)
    result = []
    for frame in range(frames):
        done = frame / frames * speed
        a, b, c = (done * math.pi / 3 * each for each in turn)
        about_x = torch.tensor([[1, 0, 0], [0, math.cos(a), -math.sin(a)], [0, math.sin(a), math.cos(a)]])
        about_y = torch.tensor([[math.cos(b), 0, math.sin(b)], [0, 1, 0], [-math.sin(b), 0, math.cos(b)]])
        about_z = torch.tensor([[math.cos(c), -math.sin(c), 0], [math.sin(c), math.cos(c), 0], [0, 0, 1]])
        axes = (about_z @ about_y @ about_x).double()
        place = torch.tensor([done * 1.5 * each for each in way]).double()
        looks = torch.einsum("ij,jhw->ihw", axes, ahead)
        moment = torch.linalg.cross(place[:, None, None].expand_as(looks), looks, dim=0)
        result.append(torch.cat([moment, looks]))
    return torch.stack(result, dim=1).float()


@pytest.mark.parametrize(
    ("pose", "way", "turn"),
    [
        ("Static", (0, 0, 0), (0, 0, 0)),
        ("Pan Up", (0, -1, 0), (0, 0, 0)),
        ("Pan Left", (-1, 0, 0), (0, 0, 0)),
        ("Zoom Out", (0, 0, -2), (0, 0, 0)),
        ("Anti Clockwise (ACW)", (0, 0, 0), (0, 0, -1)),
        ("ClockWise (CW)", (0, 0, 0), (0, 0, 1)),
    ],
)
@pytest.mark.parametrize("size", [(48, 64), (48, 112)])
def test_a_pose_has_comfyuis_rays(pose, way, turn, size):
    lens = (0.6, 0.9, 0.5, 0.4)
    settings = dict(zip(("fx", "fy", "cx", "cy"), lens))
    rays, *_ = core(
        "WanCameraEmbedding", camera_pose=pose, width=size[1], height=size[0], length=9, speed=1.5, **settings
    )
    expected = comfy_rays(way, turn, 1.5, lens, size, 9)
    expected = torch.cat([expected[:, :1].expand(-1, 3, -1, -1), expected], dim=1)  # [6, 12, H, W]
    assert torch.allclose(rays[0].unflatten(0, (6, 4)), expected.unflatten(1, (3, 4)).transpose(1, 2), atol=2e-6)


def test_a_lens_of_no_length_and_a_length_that_is_none_are_refused():
    pose = {"camera_pose": "Static", "width": 64, "height": 48}
    with pytest.raises(InvalidInputError, match="focal length above 0, got fx 0"):
        core("WanCameraEmbedding", **pose, length=9, fx=0.0)
    with pytest.raises(InvalidInputError, match=r"1 \+ 4k frames, got 8"):
        core("WanCameraEmbedding", **pose, length=8)


def test_edges_are_where_a_picture_changes():
    image = torch.zeros(2, 32, 32, 3)
    image[0, 8:24, 8:24] = 1.0  # a square
    image[1, :, 16:] = 0.02  # too little to see
    edges = core("Canny", image=image, low_threshold=0.4, high_threshold=0.8)
    assert edges.shape == image.shape and set(edges.unique().tolist()) == {0.0, 1.0}
    assert not edges[1].any() and torch.equal(edges[..., 0], edges[..., 2])
    square = edges[0, ..., 0]
    assert not square[:6].any() and not square[12:20, 12:20].any()
    for line in (square[16], square[:, 16]):  # one line each on the left and right, above and below
        assert line.sum() == 2 and line[7:9].any() and line[23:25].any()


def test_weak_edges_count_where_they_go_on_from_strong_ones():
    image = torch.zeros(2, 32, 64, 3)
    image[0, 16:] = torch.linspace(0.15, 1, 64).view(64, 1)  # a line that fades to the left
    image[1, 16:] = 0.2  # one that is weak all along
    fading, weak = core("Canny", image=image, low_threshold=0.3, high_threshold=0.99)[..., 0]
    assert fading[14:18, 2:60].any(dim=0).all() and not weak.any()
    assert core("Canny", image=image, low_threshold=0.3, high_threshold=0.3)[1, 14:18].any(dim=0).all()


def test_edges_with_thresholds_the_wrong_way_round_are_refused():
    with pytest.raises(InvalidInputError, match="low_threshold is 0.8, above high_threshold, which is 0.4"):
        core("Canny", image=picture(1), low_threshold=0.8, high_threshold=0.4)


def test_a_camera_and_edges_are_planned_without_values():
    with EmptyTensors():
        rays, *_ = core("WanCameraEmbedding", camera_pose="Pan Right", width=832, height=480, length=81)
        assert rays.is_meta and rays.shape == (1, 24, 21, 480, 832)
        edges = core("Canny", image=empty(9, 480, 832, 3), low_threshold=0.4, high_threshold=0.8)
        assert edges.is_meta and edges.shape == (9, 480, 832, 3)
