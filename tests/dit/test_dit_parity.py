"""The transformer against diffusers' WanTransformer3DModel with the same random weights, float32 on the CPU."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from wan_director.dit.branches.clip import ClipBranch
from wan_director.dit.config import DiTConfig

# Independent implementations agree to 0.5e-6 .. 2.7e-6 (rel max); typical mistakes start at 2e-5 (rel l2).
MAX_LIMIT = 1e-5
L2_LIMIT = 5e-6

SIZES = {"dim": 256, "ffn_dim": 640, "heads": 2, "layers": 3, "text_dim": 96, "text_tokens": 512}
T2V = DiTConfig(**SIZES)
I2V = DiTConfig(**SIZES, in_channels=36, branches=(ClipBranch(80),))
FLF2V = DiTConfig(**SIZES, in_channels=36, branches=(ClipBranch(80, 34),))
I2V_WITHOUT_CLIP = DiTConfig(**SIZES, in_channels=36)
TINY = DiTConfig(dim=192, ffn_dim=768, heads=4, layers=4, in_channels=36, text_dim=128, branches=(ClipBranch(64),))
CONFIGS = {"t2v": T2V, "i2v": I2V, "flf2v": FLF2V, "i2v-without-clip": I2V_WITHOUT_CLIP, "tiny": TINY}


def assert_close(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    difference = (ours - theirs).double()
    assert difference.abs().max() <= MAX_LIMIT * theirs.abs().max()
    assert difference.norm() <= L2_LIMIT * theirs.double().norm()


@pytest.mark.parametrize("timestep", [0.0, 0.37, 532.21, 999.0, 1000.0])
@pytest.mark.parametrize("name", CONFIGS)
def test_velocity_equals_diffusers(name, timestep, make_pair, make_inputs, run_diffusers):
    ours, theirs = make_pair(CONFIGS[name])
    inputs = make_inputs(CONFIGS[name], timestep=timestep)
    with torch.no_grad():
        assert_close(ours(inputs), run_diffusers(theirs, inputs))


@pytest.mark.parametrize("shape", [(1, 4, 6), (2, 16, 2), (13, 6, 4), (41, 4, 4)], ids=str)
def test_velocity_equals_diffusers_for_one_frame_and_long_clips(shape, make_pair, make_inputs, run_diffusers):
    ours, theirs = make_pair(I2V)
    inputs = make_inputs(I2V, shape=shape)
    with torch.no_grad():
        assert_close(ours(inputs), run_diffusers(theirs, inputs))


@pytest.mark.parametrize("name", ["t2v", "flf2v"])
def test_velocity_equals_diffusers_for_a_batch_of_two_timesteps(name, make_pair, make_inputs, run_diffusers):
    ours, theirs = make_pair(CONFIGS[name])
    inputs = replace(make_inputs(CONFIGS[name], batch=2), timestep=torch.tensor([987.5, 12.25]))
    with torch.no_grad():
        assert_close(ours(inputs), run_diffusers(theirs, inputs))


@pytest.mark.parametrize("seed", range(4))
def test_velocity_equals_diffusers_for_random_configs(seed, make_pair, make_inputs, run_diffusers):
    generator = torch.Generator().manual_seed(seed)

    def pick(*choices):
        return choices[int(torch.randint(len(choices), (1,), generator=generator))]

    heads = pick(1, 2, 3)
    clip_dim = pick(None, 48)
    config = DiTConfig(
        dim=128 * heads,
        ffn_dim=pick(200, 384, 512),
        heads=heads,
        layers=pick(1, 2, 4),
        in_channels=36 if clip_dim else pick(16, 36),
        text_dim=pick(64, 160),
        freq_dim=pick(64, 256),
        branches=(ClipBranch(clip_dim),) if clip_dim else (),
    )
    ours, theirs = make_pair(config)
    inputs = make_inputs(config, shape=(pick(1, 2, 5), pick(4, 6), pick(2, 8)), timestep=pick(3.5, 700.25, 995.0))
    with torch.no_grad():
        assert_close(ours(inputs), run_diffusers(theirs, inputs))


class Float64Sinusoids(torch.nn.Module):
    """The official timestep signal. Diffusers' is computed in float32, wrong by up to 3e-5 near timestep 1000."""

    def forward(self, timestep: torch.Tensor) -> torch.Tensor:
        angles = torch.outer(timestep.double(), 10000.0 ** (-torch.arange(128, dtype=torch.float64) / 128))
        return torch.cat([angles.cos(), angles.sin()], dim=1).float()


@pytest.mark.parametrize("timestep", [612.5, 999.0])
def test_a_deep_model_with_the_official_timestep_signal_agrees_closer(timestep, make_pair, make_inputs, run_diffusers):
    config = DiTConfig(dim=128, ffn_dim=320, heads=1, layers=30, text_dim=64)
    ours, theirs = make_pair(config)
    theirs.condition_embedder.timesteps_proj = Float64Sinusoids()
    inputs = make_inputs(config, timestep=timestep)
    with torch.no_grad():
        velocity, expected = ours(inputs), run_diffusers(theirs, inputs)
    assert (velocity - expected).norm() <= 2e-6 * expected.norm()


def test_gradients_equal_diffusers(make_pair, make_inputs):
    ours, theirs = make_pair(T2V)
    inputs = make_inputs(T2V)
    target = torch.randn_like(inputs.latent)
    for model in (ours, theirs):
        model.requires_grad_(True)
    (ours(inputs) - target).square().mean().backward()
    (theirs(inputs.latent, inputs.timestep, inputs.text).sample - target).square().mean().backward()
    pairs = {
        "patch_embedding.weight": theirs.patch_embedding.weight,
        "time_projection.1.weight": theirs.condition_embedder.time_proj.weight,
        "blocks.0.modulation": theirs.blocks[0].scale_shift_table,
        "blocks.1.self_attn.q.weight": theirs.blocks[1].attn1.to_q.weight,
        "blocks.1.self_attn.norm_k.weight": theirs.blocks[1].attn1.norm_k.weight,
        "blocks.2.cross_attn.norm_q.weight": theirs.blocks[2].attn2.norm_q.weight,
        "blocks.2.ffn.0.weight": theirs.blocks[2].ffn.net[0].proj.weight,
    }
    for name, theirs_parameter in pairs.items():
        gradient = ours.get_parameter(name).grad
        torch.testing.assert_close(gradient, theirs_parameter.grad, rtol=1e-4, atol=1e-5 * gradient.abs().max().item())
