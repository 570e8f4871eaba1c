"""Sampling a part of a latent: as ComfyUI inpaints, step by step, and what is kept is kept to the bit."""

from __future__ import annotations

import pytest
import torch
from wan_director.common.shapes import LatentShape
from wan_director.dit.conditioning.cut import Cut
from wan_director.dit.inputs import Conditioning
from wan_director.sampling.denoiser import Denoiser
from wan_director.sampling.given import (
    NOTHING_GIVEN,
    CleanRegion,
    GivenFrames,
    HeldRegion,
    NoisyRegion,
    NothingGiven,
    ShownFrames,
)
from wan_director.sampling.guidance import CFG
from wan_director.sampling.noise import indexed_noise, seeded_noise
from wan_director.sampling.schedule import from_sigmas, make_schedule
from wan_director.sampling.solvers import SOLVERS

from .conftest import WholeModel, sampled

SHAPE = LatentShape(4, 3, 4, 4)
CLEAN = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(2))
SOFT = torch.rand(1, 1, 3, 4, 4, generator=torch.Generator().manual_seed(5))
SOFT[..., 0] = 0
SOFT[..., -1] = 1
NOISE = seeded_noise(7, SHAPE, 2)
TOLERANCE = 1e-5


def model(inputs):
    time = inputs.timestep.reshape(len(inputs.latent), 1, -1, 1, 1) / 1000
    return 0.3 * inputs.latent.roll(1, 2) + 0.5 * time + inputs.text.mean()


def run(given, solver="euler", schedule=None, latent=CLEAN):
    sides = (Conditioning(torch.full((1, 1, 1), value)) for value in (0.1, -0.1))
    denoiser = Denoiser(WholeModel(model), *sides, guidance=CFG(3.0))
    schedule = schedule or make_schedule("simple", 5, 5.0)
    return list(sampled(denoiser, solver, schedule, latent, seed=7, given=given))


def native_euler(schedule, mask, frames_see_clean: bool, times_by_frame: bool = False) -> torch.Tensor:
    """KSampler with euler and a denoise mask, in terms of the clean guess: ComfyUI's KSamplerX0Inpaint restated."""
    sigmas = schedule.sigmas.float()
    state = sigmas[0] * NOISE + (1 - sigmas[0]) * CLEAN
    for sigma, following in zip(sigmas, sigmas[1:]):
        kept = CLEAN if frames_see_clean else sigma * NOISE + (1 - sigma) * CLEAN
        seen = state * mask + kept * (1 - mask)
        timestep = torch.full((2,), float(sigma) * 1000)
        if times_by_frame:
            timestep = timestep[:, None] * mask.mean(dim=(1, 3, 4))
        guesses = []
        for value in (0.1, -0.1):
            side = Conditioning(torch.full((1, 1, 1), value)).inputs(seen, timestep)
            guesses.append(seen - sigma * model(side))
        guess = guesses[1] + 3.0 * (guesses[0] - guesses[1])
        guess = guess * mask + CLEAN * (1 - mask)
        state = state + (state - guess) / sigma * (following - sigma)
    return state


@pytest.mark.parametrize("denoise", [1.0, 0.6])
def test_a_masked_run_is_the_native_one(denoise):
    schedule = make_schedule("simple", 5, 5.0, denoise)
    result = run(NoisyRegion(CLEAN, SOFT, NOISE), schedule=schedule)[-1].latent
    torch.testing.assert_close(result, native_euler(schedule, SOFT, False), rtol=0, atol=TOLERANCE)


def test_a_masked_run_with_clean_frames_is_the_native_one():
    schedule = make_schedule("simple", 5, 5.0)
    result = run(CleanRegion(CLEAN, SOFT), schedule=schedule)[-1].latent
    torch.testing.assert_close(result, native_euler(schedule, SOFT, True, True), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("is_kept", [False, True])
@pytest.mark.parametrize("count", [1, 2])
def test_a_run_that_is_shown_its_first_frames_is_the_native_one(count, is_kept):
    """ComfyUI's wrapper puts them into what the model sees, and what it makes of them is the guess of that."""
    schedule = make_schedule("simple", 5, 5.0)
    given = ShownFrames(CLEAN[:1, :, :count], is_kept)
    sigmas = schedule.sigmas.float()
    state = sigmas[0] * NOISE
    for sigma, following in zip(sigmas, sigmas[1:]):
        seen = torch.cat([given.clean.expand(2, -1, -1, -1, -1), state[:, :, count:]], dim=2)
        sides = (Conditioning(torch.full((1, 1, 1), value)) for value in (0.1, -0.1))
        positive, negative = (model(side.inputs(seen, torch.full((2,), float(sigma) * 1000))) for side in sides)
        guess = seen - sigma * (negative + 3.0 * (positive - negative))
        state = state + (state - guess) / sigma * (following - sigma)
    if is_kept:
        state[:, :, :count] = given.clean
    result = run(given, schedule=schedule, latent=torch.zeros_like(CLEAN))[-1].latent
    torch.testing.assert_close(result, state, rtol=0, atol=TOLERANCE)
    assert given.frames_before(3) == (count if is_kept else 0)
    part = given.window(Cut(1, 3, 3))
    assert part is NOTHING_GIVEN if count == 1 else torch.equal(part.clean, given.clean[:, :, 1:])


@pytest.mark.parametrize("denoise", [1.0, 0.6])
def test_a_masked_run_with_clean_frames_of_one_time_is_the_native_one(denoise):
    schedule = make_schedule("simple", 5, 5.0, denoise)
    result = run(HeldRegion(CLEAN, SOFT), schedule=schedule)[-1].latent
    torch.testing.assert_close(result, native_euler(schedule, SOFT, True), rtol=0, atol=TOLERANCE)


REGIONS = (
    lambda: NoisyRegion(CLEAN, SOFT, NOISE),
    lambda: CleanRegion(CLEAN, SOFT),
    lambda: HeldRegion(CLEAN, SOFT),
)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("make", REGIONS)
def test_what_is_kept_is_kept_to_the_bit_by_every_solver(solver, make):
    result = run(make(), solver)[-1].latent
    assert result.isfinite().all()
    assert torch.equal(result[..., 0], CLEAN[..., 0])
    assert not torch.allclose(result[..., -1], CLEAN[..., -1], atol=1e-2)


def test_whole_clean_frames_are_given_frames():
    mask = torch.ones(1, 1, 3, 1, 1).expand(-1, -1, -1, 4, 4).clone()
    mask[:, :, 0] = 0
    frames = GivenFrames(CLEAN, torch.tensor([True, False, False]))
    expected, result = run(frames)[-1].latent, run(CleanRegion(CLEAN, mask))[-1].latent
    torch.testing.assert_close(result, expected, rtol=0, atol=TOLERANCE)


def test_a_run_that_stops_early_can_be_continued():
    region, sigmas = NoisyRegion(CLEAN, SOFT, NOISE), torch.tensor([1.0, 0.8, 0.5, 0.2, 0.0])
    stopped = run(region, schedule=from_sigmas(sigmas[:3]))[-1].latent
    noisy = (0.5 * NOISE + 0.5 * CLEAN)[..., 0]
    torch.testing.assert_close(stopped[..., 0] * 0.5, noisy, rtol=0, atol=TOLERANCE)


def test_nothing_given_hands_everything_on():
    latent = torch.randn(1, *SHAPE)
    nothing = NothingGiven()
    assert nothing.shown(latent, 0.5) is latent and nothing.finish(latent, 0.5) is latent
    assert nothing.velocity(latent, CLEAN, CLEAN, 0.5) is latent


def test_numbered_noises_are_those_that_are_drawn_one_by_one():
    """ComfyUI's prepare_noise with noise_inds: videos drawn in turn, the wanted ones kept."""
    generator = torch.Generator().manual_seed(7)
    drawn = [torch.randn(1, *SHAPE, generator=generator) for _ in range(4)]
    assert torch.equal(indexed_noise(7, SHAPE, [3, 1, 1]), torch.cat([drawn[3], drawn[1], drawn[1]]))


def test_what_is_given_goes_to_a_device_as_a_whole():
    device = torch.device("meta")
    region = NoisyRegion(CLEAN, SOFT, NOISE).to(device)
    clean, frames = CleanRegion(CLEAN, SOFT).to(device), GivenFrames(CLEAN, torch.tensor([True, False])).to(device)
    held = HeldRegion(CLEAN, SOFT).to(device)
    tensors = (region.clean, region.mask, region.noise, clean.clean, clean.mask, frames.clean, frames.frames)
    tensors += (held.clean, held.mask)
    assert {tensor.device for tensor in tensors} == {device}
    assert NothingGiven().to(device) == NothingGiven()
