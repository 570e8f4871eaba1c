"""A timestep for each latent frame: against diffusers' timestep for each token, and against one timestep for all."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from wan_director.common.errors import InvalidInputError
from wan_director.dit.config import DiTConfig
from wan_director.dit.model import WanDiT

SIZES = {"dim": 256, "ffn_dim": 640, "heads": 2, "layers": 3, "text_dim": 96}
TI2V = DiTConfig(**SIZES, in_channels=48, out_channels=48)
T2V = DiTConfig(**SIZES)


def with_times(inputs, *rows):
    return replace(inputs, timestep=torch.tensor(rows))


def run_diffusers_by_token(model, inputs):
    """diffusers wants the timestep of every token; those of a frame follow one another."""
    height, width = inputs.latent.shape[-2:]
    by_token = inputs.timestep.repeat_interleave((height // 2) * (width // 2), dim=1)
    with torch.no_grad():
        return model(inputs.latent, by_token, inputs.text).sample


@pytest.mark.parametrize("config", [TI2V, T2V], ids=["48 channels", "16 channels"])
@pytest.mark.parametrize("rows", [[[0.0, 713.5, 713.5]], [[0.0, 400.0, 999.0], [3.25, 3.25, 0.0]]], ids=["one", "two"])
def test_velocity_equals_diffusers_with_a_timestep_for_each_token(config, rows, make_pair, make_inputs):
    ours, theirs = make_pair(config)
    inputs = with_times(make_inputs(config, batch=len(rows)), *rows)
    with torch.no_grad():
        velocity, expected = ours(inputs), run_diffusers_by_token(theirs, inputs)
    # As in test_dit_parity: independent implementations agree to 0.5e-6 .. 2.7e-6, mistakes start at 2e-5.
    assert (velocity - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert (velocity - expected).norm() <= 5e-6 * expected.norm()
    spread = replace(inputs, timestep=inputs.timestep.flip(1))
    assert (ours(spread) - expected).norm() > 1e-3 * expected.norm()  # the order of the frames matters


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_same_timestep_for_each_frame_equals_one_for_all(dtype, make_inputs):
    torch.manual_seed(0)
    model = WanDiT(T2V).eval().requires_grad_(False).to(dtype)
    inputs = make_inputs(T2V, batch=2)
    one = replace(inputs, timestep=torch.tensor([12.5, 900.0]))
    each = with_times(inputs, [12.5] * 3, [900.0] * 3)
    # Only the sums of the time embedding may be taken in another order, over 6 rows instead of 2.
    limit = 1e-6 if dtype == torch.float32 else 5e-3
    assert (model(each) - model(one)).norm() <= limit * model(one).norm()


@pytest.mark.parametrize("gradients", [False, True])
def test_frame_times_work_with_and_without_autograd(gradients, make_inputs):
    torch.manual_seed(0)
    model = WanDiT(TI2V).eval().requires_grad_(False)
    inputs = with_times(make_inputs(TI2V), [0.0, 500.0, 500.0])
    expected = model(inputs)
    with torch.set_grad_enabled(gradients):
        velocity = model.requires_grad_(gradients)(inputs)
    torch.testing.assert_close(velocity, expected, rtol=0, atol=1e-6)
    if gradients:
        velocity.square().mean().backward()
        assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_timesteps_for_another_number_of_frames_are_refused(make_inputs):
    with pytest.raises(InvalidInputError, match="timesteps for 2 latent frames, but the latent has 3"):
        WanDiT(T2V)(with_times(make_inputs(T2V), [0.0, 1.0]))
