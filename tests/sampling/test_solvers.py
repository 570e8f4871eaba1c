"""Each solver against the scheduler of diffusers on one table of sigmas, and its order of convergence."""

import math

import pytest
import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    FlowMatchLCMScheduler,
    UniPCMultistepScheduler,
)
from wan_director.common.errors import InvalidInputError
from wan_director.sampling.noise import step_noise
from wan_director.sampling.schedule import from_sigmas, make_schedule
from wan_director.sampling.solvers import SOLVERS
from wan_director.sampling.solvers.native import NATIVE_SOLVERS
from wan_director.sampling.validation import find_choice

from .conftest import walk

SEED = 7
FLOW = {"prediction_type": "flow_prediction", "use_flow_sigmas": True}


def unipc():
    return UniPCMultistepScheduler(solver_order=2, solver_type="bh2", predict_x0=True, **FLOW)


def dpm(algorithm):
    return DPMSolverMultistepScheduler(solver_order=2, algorithm_type=algorithm, **FLOW)


REFERENCES = {
    "euler": FlowMatchEulerDiscreteScheduler,
    "heun": FlowMatchHeunDiscreteScheduler,
    "unipc": unipc,
    "dpmpp_2m": lambda: dpm("dpmsolver++"),
    "dpmpp_sde": lambda: dpm("sde-dpmsolver++"),
    "dpmpp_2m_sde": lambda: dpm("sde-dpmsolver++"),
    "lcm": FlowMatchLCMScheduler,
}


def float32_schedule(name, steps, shift, denoise=1.0):
    """Schedule of a table that float32 holds exactly, so that both sides see the same numbers."""
    return from_sigmas(make_schedule(name, steps, shift, denoise).sigmas.float())


def our_trajectory(name, schedule, velocity, latent):
    return [*walk(name, step_noise(SEED), lambda x, at: velocity(x, at.sigma), latent, schedule.levels)]


def diffusers_trajectory(name, schedule, velocity, latent):
    scheduler = REFERENCES[name]()
    sigmas = schedule.sigmas.float()
    if name == "unipc":
        sigmas = sigmas.clamp(max=1 - 1e-6)  # what its set_timesteps does to a first sigma of 1
    if name == "heun":
        sigmas = torch.cat([sigmas[:1], sigmas[1:-1].repeat_interleave(2), sigmas[-1:]])
    scheduler.set_timesteps(len(sigmas) - 1)
    scheduler.sigmas, scheduler.timesteps = sigmas, sigmas[:-1] * 1000
    scheduler.set_begin_index(0)
    noise = step_noise(SEED)
    generator = torch.Generator().manual_seed(SEED + 1)
    states = []
    for index, sigma in enumerate(sigmas[:-1]):
        extra = {}
        if name == "lcm":
            extra["generator"] = generator
        if name.endswith("_sde"):
            extra["variance_noise"], noise = noise.draw(latent)
        output = velocity(latent, float(sigma))
        latent = scheduler.step(output, scheduler.timesteps[index], latent, return_dict=False, **extra)[0]
        states.append(latent)
    # Heun's scheduler counts half steps; a whole step ends at every second state, and at the last.
    return states[1::2] + states[-1:] if name == "heun" else states


def curved_velocity(latent, sigma):
    """Some smooth model that depends on both arguments."""
    return torch.tanh(1.7 * latent) * (0.4 + sigma) - 0.3 * latent.flip(-1) + math.cos(3 * sigma)


def relative_error(ours, expected):
    return float((ours - expected).abs().max() / expected.abs().max())


TABLES = {
    "official": ("official", 8, 5.0),
    "official, many steps": ("official", 40, 5.0),
    "from exactly 1": ("simple", 12, 8.0),
    "part of a table": ("linear", 6, 3.0, 0.4),
    "two steps": ("official", 2, 5.0),
    "one step": ("official", 1, 5.0),
}


def test_every_solver_but_native_forms_has_a_reference_in_diffusers():
    native = {"dpmpp_2m_native", "uni_pc", "uni_pc_bh2", "ddim", *NATIVE_SOLVERS}
    assert set(SOLVERS) - set(REFERENCES) == native  # see test_native_samplers


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("name", REFERENCES)
def test_trajectory_equals_diffusers(name, table):
    schedule = float32_schedule(*TABLES[table])
    latent = torch.randn(1, 8, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    ours = our_trajectory(name, schedule, curved_velocity, latent)
    expected = diffusers_trajectory(name, schedule, curved_velocity, latent)
    assert len(ours) == len(expected)
    errors = [relative_error(*pair) for pair in zip(ours, expected)]
    # Independent implementations of one formula agree to 0.4e-6; coefficients there are float32, ours float64.
    assert max(errors) <= 1e-6, errors


GAUSSIAN_MEAN, GAUSSIAN_STD = 0.7, 0.5


def gaussian_velocity(latent, sigma):
    """Exact velocity when the clean data are Gaussian."""
    variance = (1 - sigma) ** 2 * GAUSSIAN_STD**2 + sigma**2
    slope = (sigma - (1 - sigma) * GAUSSIAN_STD**2) / variance
    return slope * (latent - (1 - sigma) * GAUSSIAN_MEAN) - GAUSSIAN_MEAN


def gaussian_path(score, sigma):
    """Exact solution of the flow: the latent at `sigma` that stays `score` deviations from the mean."""
    return (1 - sigma) * GAUSSIAN_MEAN + score * math.sqrt((1 - sigma) ** 2 * GAUSSIAN_STD**2 + sigma**2)


def error_after(name, steps):
    schedule = from_sigmas(torch.linspace(0.9, 0.1, steps + 1, dtype=torch.float64))
    scores = torch.linspace(-2, 2, 9, dtype=torch.float64)
    ours = our_trajectory(name, schedule, gaussian_velocity, gaussian_path(scores, 0.9))[-1]
    return float((ours - gaussian_path(scores, 0.1)).abs().max())


@pytest.mark.parametrize(
    ("name", "order"),
    [
        *(("euler", 1), ("heun", 2), ("dpmpp_2m", 2), ("unipc", 2), ("dpmpp_2m_native", 2), ("uni_pc_bh2", 2)),
        *(("dpm_2", 2), ("exp_heun_2_x0", 2), ("lms", 2), ("ipndm_v", 2)),
    ],
)
def test_error_falls_with_the_order_of_the_solver(name, order):
    rate = math.log2(error_after(name, 64) / error_after(name, 128))
    assert rate > order - 0.1


def test_higher_order_is_nearer_to_the_solution_at_the_same_steps():
    euler = error_after("euler", 24)
    assert all(error_after(name, 24) < euler / 3 for name in ("heun", "dpmpp_2m", "unipc", "lms", "deis"))


# Native's UniPC leaves a thousandth of the noise, see test_native_samplers.
@pytest.mark.parametrize("name", [name for name in SOLVERS if not name.startswith("uni_pc")])
def test_a_perfect_model_of_one_clip_gives_that_clip(name):
    clip = torch.randn(1, 4, 2, 4, 4, generator=torch.Generator().manual_seed(3))
    schedule = make_schedule("simple", 6, 5.0)
    latent = torch.randn(clip.shape, generator=torch.Generator().manual_seed(4))
    final = our_trajectory(name, schedule, lambda x, sigma: (x - clip) / sigma, latent)[-1]
    torch.testing.assert_close(final, clip, rtol=0, atol=2e-6)


@pytest.mark.parametrize("name", SOLVERS)
def test_a_run_leaves_its_input_alone_and_starts_without_memory(name):
    schedule = make_schedule("official", 5, 5.0)
    latent = torch.randn(1, 4, 2, 4, 4, generator=torch.Generator().manual_seed(3))
    before = latent.clone()
    first = our_trajectory(name, schedule, curved_velocity, latent)
    second = our_trajectory(name, schedule, curved_velocity, latent)
    assert torch.equal(latent, before)
    assert all(torch.equal(*pair) for pair in zip(first, second))


def test_unknown_solver_lists_the_known_ones():
    with pytest.raises(InvalidInputError, match="no solver 'unpic'. Choose one of: unipc, euler, heun"):
        find_choice(SOLVERS, "unpic", "solver")
