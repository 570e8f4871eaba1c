"""Speed control and the amplified start image: each restated in float64, and off equals absent."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from wan_director.common.errors import InvalidInputError, PairingError
from wan_director.common.families import WAN_2_1
from wan_director.dit.branches.speed import MotionBucket, SpeedBranch, checked_bucket
from wan_director.dit.conditioning.amplified import amplified, can_be_amplified
from wan_director.dit.conditioning.control_video import ControlVideo
from wan_director.dit.conditioning.start_image import KeyframeImages, keyframe_mask
from wan_director.dit.config import DiTConfig
from wan_director.dit.inputs import Conditioning, DitInputs
from wan_director.dit.model import WanDiT

CONFIG = DiTConfig(dim=48, ffn_dim=64, heads=4, layers=2, text_dim=12, branches=(SpeedBranch(),))


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def model() -> WanDiT:
    model = WanDiT(CONFIG).eval()
    for number, parameter in enumerate(model.parameters()):
        parameter.data = 0.2 * random(*parameter.shape, seed=number)
    return model


@pytest.fixture
def inputs() -> DitInputs:
    return DitInputs(random(1, 16, 3, 4, 6, seed=1), torch.tensor([700.0]), random(1, 5, 12, seed=2))


@torch.no_grad()
@pytest.mark.parametrize("bucket", [0.0, 37.0, 100.0])
def test_a_bucket_is_added_to_the_modulation_as_the_module_was_trained(model, inputs, bucket):
    """Restated from the module of diffsynth 2.1.12, with which the layers are equal to the bit."""
    weights = {name: value.double() for name, value in model.get_submodule("motion_controller").named_parameters()}
    half = torch.arange(128, dtype=torch.float64)
    angles = bucket * 10 * 10000.0 ** (-half / 128)
    x = torch.cat([angles.cos(), angles.sin()])
    for number in (0, 2, 4):
        x = weights[f"linear.{number}.weight"] @ x + weights[f"linear.{number}.bias"]
        x = x * x.sigmoid() if number != 4 else x
    plain = model.embed(inputs).context.modulation
    steered = model.embed(replace(inputs, steering=(MotionBucket(bucket),))).context.modulation
    added = (steered - plain).double().view(-1)
    assert (added - x).abs().max() < 1e-5 * x.abs().max()
    assert not torch.equal(model(replace(inputs, steering=(MotionBucket(bucket),))), model(inputs))


@torch.no_grad()
def test_speed_control_without_a_bucket_is_absent(model, inputs):
    without = WanDiT(replace(CONFIG, branches=())).eval()
    without.load_state_dict({name: value for name, value in model.state_dict().items() if "motion_" not in name})
    assert torch.equal(model(inputs), without(inputs))
    with pytest.raises(PairingError, match="no speed control .* Set the bucket to -1"):
        without(replace(inputs, steering=(MotionBucket(50.0),)))


@pytest.mark.parametrize("value", [-2, 101, float("nan")])
def test_a_bucket_out_of_its_bounds_is_refused(value):
    with pytest.raises(InvalidInputError, match="from 0, calm, to 100"):
        checked_bucket(value)


def started(frames_given=(0,)) -> KeyframeImages:
    return KeyframeImages(random(1, 16, 5, 4, 6, seed=4).double(), keyframe_mask(frames_given, 17, 4, 6))


def restated(normalised: torch.Tensor, factor: float) -> torch.Tensor:
    """Frame by frame, on raw latents."""
    raw = WAN_2_1.denormalize(normalised)
    for frame in range(1, raw.shape[2]):
        difference = raw[:, :, frame] - raw[:, :, 0]
        mean = difference.sum() / difference.numel()
        raw[:, :, frame] = (raw[:, :, 0] + (difference - mean) * factor + mean).clamp(-6, 6)
    return WAN_2_1.normalize(raw)


@pytest.mark.parametrize("factor", [1.15, 2.0])
def test_the_start_image_is_amplified_as_its_author_does(factor):
    item = started()
    (changed,) = amplified(Conditioning(random(1, 5, 12), (item,)), factor, WAN_2_1).items
    assert isinstance(changed, KeyframeImages) and torch.equal(changed.latent[:, :, 0], item.latent[:, :, 0])
    assert (changed.latent - restated(item.latent, factor)).abs().max() < 1e-12
    control = ControlVideo(random(1, 16, 5, 4, 6), item)
    (steered,) = amplified(Conditioning(random(1, 5, 12), (control,)), factor, WAN_2_1).items
    assert isinstance(steered, ControlVideo) and torch.equal(steered.keyframes.latent, changed.latent)


def test_frames_that_are_given_stay_and_without_a_first_one_nothing_changes():
    item = started((0, 16))
    (changed,) = amplified(Conditioning(random(1, 5, 12), (item,)), 1.5, WAN_2_1).items
    same = [bool((changed.latent[:, :, frame] == item.latent[:, :, frame]).all()) for frame in range(5)]
    assert same == [True, False, False, False, True]
    last = Conditioning(random(1, 5, 12), (started((16,)),))
    assert amplified(last, 1.5, WAN_2_1).items == last.items and not can_be_amplified(last)
    assert amplified(last, 1.0, WAN_2_1) is last
