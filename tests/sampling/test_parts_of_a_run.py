"""A part of a run's steps: cut as KSampler (Advanced) cuts, and two parts make the whole."""

from __future__ import annotations

import pytest
import torch
from wan_director.common.errors import InvalidInputError
from wan_director.dit.inputs import Conditioning
from wan_director.engine.sampling.settings import SamplerSettings
from wan_director.sampling.denoiser import Denoiser
from wan_director.sampling.schedule import NO_STEPS, from_sigmas, make_schedule

from .conftest import WholeModel, sampled


def native_part(sigmas, start, end, full_denoise):
    """The cutting of ComfyUI's KSampler.sample, restated; None where it gives the latent back."""
    sigmas = [*sigmas]
    if end is not None and end < len(sigmas) - 1:
        sigmas = sigmas[: end + 1]
        if full_denoise:
            sigmas[-1] = 0.0
    return sigmas[start:] if start < len(sigmas) - 1 else None


CUTS = [(0, None), (0, 3), (2, 10000), (2, 4), (1, 2), (3, 3), (4, 2), (6, 9), (0, 0)]


@pytest.mark.parametrize("ends_clean", [False, True])
@pytest.mark.parametrize(("start", "end"), CUTS)
def test_a_part_has_the_sigmas_of_native_nodes(start, end, ends_clean):
    whole = make_schedule("simple", 6, 5.0)
    part = whole.part(start, end, ends_clean=ends_clean)
    expected = native_part(whole.sigmas.tolist(), start, end, ends_clean)
    if expected is None:
        assert part is NO_STEPS
        return
    assert part.sigmas.tolist() == expected
    assert part.timesteps.tolist() == whole.timesteps[start : start + part.steps].tolist()
    assert part.noise_weight == expected[0]


@pytest.mark.parametrize("name", ["simple", "official", "official_dpm", "beta"])
def test_the_whole_run_is_a_part(name):
    whole = make_schedule(name, 5, 3.0)
    part = whole.part(0)
    assert torch.equal(part.sigmas, whole.sigmas) and torch.equal(part.timesteps, whole.timesteps)
    assert part.starts_from_noise == whole.starts_from_noise
    assert whole.part(1).noise_weight == float(whole.sigmas[1])


def test_settings_take_a_part_of_a_table_too():
    table = torch.tensor([1.0, 0.7, 0.4, 0.0])
    schedule = SamplerSettings(sigmas=table, start_step=1, end_step=2).noise_schedule()
    assert schedule.sigmas.tolist() == from_sigmas(table).sigmas[1:3].tolist()


@pytest.mark.parametrize(("part", "words"), [({"start_step": -1}, "start step"), ({"end_step": 1.5}, "end step")])
def test_a_part_that_is_none_is_refused(part, words):
    with pytest.raises(InvalidInputError, match=f"The {words} must be a whole number from 0 on"):
        SamplerSettings(**part)


@pytest.mark.parametrize("cut", [1, 3, 5])
def test_two_parts_make_the_whole_run(cut):
    side = Conditioning(torch.zeros(1, 1, 1))
    denoiser = Denoiser(WholeModel(lambda inputs: torch.sin(3 * inputs.latent) + inputs.timestep[0] / 1000), side, side)
    clip = torch.randn(1, 2, 3, 4, 5, generator=torch.Generator().manual_seed(1))
    whole = make_schedule("simple", 6, 5.0)
    [*_, expected] = sampled(denoiser, "euler", whole, clip, seed=7)
    [*_, first] = sampled(denoiser, "euler", whole.part(0, cut), clip, seed=7)
    [*_, second] = sampled(
        denoiser, "euler", whole.part(cut), first.latent, seed=0, noise=torch.zeros_like(first.latent)
    )
    # Dividing by the signal weight and multiplying with it again rounds twice in float32.
    assert (second.latent - expected.latent).abs().max() < 1e-6 * expected.latent.abs().max()
