"""Frames given from the start: the model sees them clean with timestep 0, and every solver leaves them as they are."""

from __future__ import annotations

import pytest
import torch
from wan_director.dit.inputs import Conditioning
from wan_director.sampling.denoiser import Denoiser
from wan_director.sampling.given import GivenFrames, NothingGiven
from wan_director.sampling.guidance import CFG
from wan_director.sampling.noise import step_noise
from wan_director.sampling.schedule import from_sigmas, make_schedule
from wan_director.sampling.solvers import SOLVERS

from .conftest import WholeModel, sampled

CLEAN = torch.randn(1, 4, 3, 2, 2, generator=torch.Generator().manual_seed(2))
FIRST = torch.tensor([True, False, False])


class Recorder:
    """A model whose velocity depends on all it is told, and that keeps what it saw."""

    def __init__(self) -> None:
        self.seen = []

    def __call__(self, inputs):
        self.seen.append((inputs.latent.clone(), inputs.timestep.clone()))
        time = inputs.timestep.reshape(len(inputs.latent), 1, -1, 1, 1) / 1000
        return 0.3 * inputs.latent.roll(1, 2) + 0.5 * time + inputs.text.mean()


def run(given, solver="euler", schedule=None, batch=1, latent=None):
    model = Recorder()
    sides = (Conditioning(torch.full((1, 1, 1), value)) for value in (0.1, -0.1))
    denoiser = Denoiser(WholeModel(model), *sides, guidance=CFG(3.0))
    schedule = schedule or make_schedule("simple", 5, 5.0)
    latent = torch.zeros(batch, *CLEAN.shape[1:]) if latent is None else latent
    return model, list(sampled(denoiser, solver, schedule, latent, seed=7, given=given))


@pytest.mark.parametrize("solver", SOLVERS)
def test_given_frames_are_clean_for_the_model_and_after_every_step(solver):
    model, results = run(GivenFrames(CLEAN, FIRST), solver, batch=2)
    for latent, timestep in model.seen:
        assert torch.equal(latent[:, :, :1], CLEAN[:, :, :1].expand(2, -1, -1, -1, -1))
        assert timestep.shape == (2, 3) and not timestep[:, 0].any() and (timestep[:, 1:] > 0).all()
    for result in results:
        for part in (result.latent, result.denoised):
            assert torch.equal(part[:, :, :1], CLEAN[:, :, :1].expand(2, -1, -1, -1, -1))
    assert not torch.equal(results[-1].latent[:, :, 1:], results[-2].latent[:, :, 1:])


@pytest.mark.parametrize("solver", ["euler", "unipc", "dpmpp_2m"])
def test_the_made_frames_are_those_of_the_official_loop(solver):
    """The official loop: put the frame in, ask with timesteps by frame, step, put the frame in again."""
    given, schedule = GivenFrames(CLEAN, FIRST), make_schedule("simple", 5, 5.0)
    _, results = run(given, solver, schedule)

    state, model = results_noise(), Recorder()
    record = SOLVERS[solver].start(step_noise(7))
    levels = schedule.levels
    state[:, :, :1] = CLEAN[:, :, :1]
    for level, following in zip(levels, levels[1:]):

        def predict(latent, at):
            time = torch.tensor([[0.0, at.timestep, at.timestep]])
            sides = [Conditioning(torch.full((1, 1, 1), value)).inputs(latent, time) for value in (0.1, -0.1)]
            positive, negative = (model(side) for side in sides)
            return negative + 3.0 * (positive - negative)

        record, state, _ = SOLVERS[solver].advance(record, predict, state, level, following)
        state[:, :, :1] = CLEAN[:, :, :1]
    torch.testing.assert_close(results[-1].latent, state, rtol=0, atol=1e-6)


def results_noise() -> torch.Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.randn(CLEAN.shape, generator=generator)


def test_nothing_given_is_the_plain_run_bit_for_bit():
    plain_model, plain = run(NothingGiven())
    none_model, none = run(GivenFrames(CLEAN, torch.tensor([False] * 3)))
    assert plain_model.seen[0][1].shape == (1,)
    assert torch.equal(plain[-1].latent, none[-1].latent)
    latent = torch.randn(1, 4, 3, 2, 2)
    assert NothingGiven().impose(latent) is latent


def test_a_run_that_stops_before_the_end_keeps_the_given_frames_too():
    _, results = run(GivenFrames(CLEAN, FIRST), schedule=from_sigmas(torch.tensor([1.0, 0.7, 0.4])))
    assert torch.equal(results[-1].latent[:, :, :1], CLEAN[:, :, :1])
