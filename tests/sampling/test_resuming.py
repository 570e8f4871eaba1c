"""A run stopped after any step, saved, read and gone on with: the same bits as without the stop."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load, save
from wan_director.common.errors import InvalidInputError
from wan_director.dit.inputs import Conditioning
from wan_director.sampling.denoiser import Denoiser
from wan_director.sampling.given import CleanRegion, GivenFrames, HeldRegion, NoisyRegion, ShownFrames
from wan_director.sampling.guidance import CFG, AdaptiveProjected, Guidance
from wan_director.sampling.loop import begin, sample
from wan_director.sampling.schedule import make_schedule
from wan_director.sampling.solvers import SOLVERS
from wan_director.sampling.state import SamplerState, state_of

from .conftest import WholeModel

LATENT = torch.randn(1, 4, 3, 4, 4, generator=torch.Generator().manual_seed(2))
MASK = torch.rand(1, 1, 3, 4, 4, generator=torch.Generator().manual_seed(5))
SCHEDULE = make_schedule("simple", 6, 5.0)
PLAIN = CFG(3.0)
GIVEN = {
    "first frame": GivenFrames(LATENT, torch.tensor([True, False, False])),
    "noisy region": NoisyRegion(LATENT, MASK, LATENT.flip(0, 3)),
    "clean region": CleanRegion(LATENT, MASK),
    "held region": HeldRegion(LATENT, MASK),
    "shown frames": ShownFrames(LATENT[:, :, :2], is_kept=False),
}


def velocity(inputs):
    time = inputs.timestep.reshape(len(inputs.latent), 1, -1, 1, 1) / 1000
    return torch.tanh(1.7 * inputs.latent) * (0.4 + time) - 0.3 * inputs.latent.flip(-1) + inputs.text.mean()


def go_on(state, solver, given=(), guidance: Guidance = PLAIN) -> list[SamplerState]:
    sides = (Conditioning(torch.full((1, 1, 1), value)) for value in (0.1, -0.1))
    return [
        *sample(Denoiser(WholeModel(velocity), *sides, guidance=guidance), SOLVERS[solver], SCHEDULE, state, *given)
    ]


def saved(state: SamplerState) -> SamplerState:
    """As a file holds it."""
    return state_of(load(save(state.tensors())))


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_run_goes_on_from_any_saved_step_with_the_same_bits(solver):
    start = begin(SOLVERS[solver], SCHEDULE, LATENT, seed=3)
    whole = go_on(start, solver)
    for state in (start, *whole):
        rest = go_on(saved(state), solver)
        assert [each.step for each in rest] == [*range(state.step + 1, 7)]
        for again, expected in zip(rest, whole[state.step :]):
            assert torch.equal(again.latent, expected.latent) and torch.equal(again.denoised, expected.denoised)


@pytest.mark.parametrize("solver", ["euler", "heun"])
def test_what_a_guidance_remembers_is_in_the_state(solver):
    guidance = AdaptiveProjected(3.0, 0.5, 4.0, momentum=-0.5)
    start = begin(SOLVERS[solver], SCHEDULE, LATENT, seed=3)
    whole = go_on(start, solver, guidance=guidance)
    for state in (start, *whole[:-1]):
        assert torch.equal(go_on(saved(state), solver, guidance=guidance)[-1].latent, whole[-1].latent)
    without = go_on(start, solver, guidance=AdaptiveProjected(3.0, 0.5, 4.0))
    assert torch.equal(whole[0].latent, without[0].latent) is (solver == "euler")
    assert not torch.equal(whole[-1].latent, without[-1].latent)


@pytest.mark.parametrize("kind", GIVEN)
@pytest.mark.parametrize("solver", ["unipc", "dpmpp_2m_sde"])
def test_what_is_given_may_be_given_again(kind, solver):
    whole = go_on(begin(SOLVERS[solver], SCHEDULE, LATENT, seed=3), solver, (GIVEN[kind],))
    for state in whole[:-1]:
        assert torch.equal(go_on(saved(state), solver, (GIVEN[kind],))[-1].latent, whole[-1].latent)


def test_a_state_is_not_changed_by_going_on_from_it():
    state = go_on(begin(SOLVERS["dpmpp_2m_sde"], SCHEDULE, LATENT, seed=3), "dpmpp_2m_sde")[2]
    before = state.tensors()
    first, second = (go_on(state, "dpmpp_2m_sde")[-1].latent for _ in range(2))
    assert torch.equal(first, second)
    assert all(torch.equal(value, before[name]) for name, value in state.tensors().items())


def test_another_schedule_and_a_damaged_file_are_refused():
    state = go_on(begin(SOLVERS["euler"], SCHEDULE, LATENT, seed=3), "euler")[2]
    denoiser = Denoiser(WholeModel(velocity), *[Conditioning(torch.ones(1, 1, 1))] * 2)
    for schedule in (make_schedule("simple", 5, 5.0), make_schedule("simple", 6, 3.0)):
        with pytest.raises(
            InvalidInputError, match="that of step 3 of 6 .* Go on with the schedule that the run began"
        ):
            next(sample(denoiser, SOLVERS["euler"], schedule, state))
    tensors = state.tensors()
    del tensors["solver.noise.generators.0"]
    with pytest.raises(InvalidInputError, match="lacks 'solver.noise.generators.0'.*Save it again, or start anew"):
        state_of(tensors)
