"""The sampling loop with a small random transformer: parity, neutrality, seeds, interrupts and refusals."""

import math
from dataclasses import dataclass, replace
from itertools import combinations, pairwise

import pytest
import torch
from wan_director.common.errors import InvalidInputError, NumericalError
from wan_director.common.shapes import LatentShape
from wan_director.dit.config import DiTConfig
from wan_director.dit.execution import Execution
from wan_director.dit.inputs import Conditioning, DitInputs
from wan_director.dit.model import RunningDiT, WanDiT
from wan_director.memory.policy import Resident
from wan_director.memory.slabs import Slabs
from wan_director.sampling.cache import NoCache
from wan_director.sampling.denoiser import Denoiser
from wan_director.sampling.guidance import CFG
from wan_director.sampling.noise import add_noise, seeded_noise, step_noise
from wan_director.sampling.schedule import SCHEDULES, from_sigmas, make_schedule
from wan_director.sampling.solvers import SOLVERS
from wan_director.sampling.step import NoiseLevel
from wan_director.sampling.windows import WholeClip

from .conftest import WholeModel, sampled, walk

SHAPE = LatentShape(16, 3, 6, 8)
SEED = 11


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = DiTConfig(dim=48, ffn_dim=96, heads=4, layers=2, text_dim=24, text_tokens=7, freq_dim=32)
    model = WanDiT(config).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.copy_(torch.randn_like(parameter) * 0.1 + (1.0 if parameter.ndim == 1 else 0.0))
    return model


@pytest.fixture(scope="module")
def prompts():
    generator = torch.Generator().manual_seed(5)
    return tuple(Conditioning(torch.randn(1, 7, 24, generator=generator)) for _ in range(2))


@pytest.fixture
def denoiser(model, prompts):
    return Denoiser(model, *prompts, guidance=CFG(5.0))


def run(denoiser, solver="unipc", schedule=None, latent=None, seed=SEED):
    schedule = schedule or make_schedule("official", 4, 5.0)
    latent = torch.zeros(1, *SHAPE) if latent is None else latent
    return [*sampled(denoiser, solver, schedule, latent, seed=seed)]


@dataclass
class CountingModel:
    """Counts the passes of a model and keeps what it was asked."""

    model: WanDiT
    calls: list[DitInputs]

    def embed(self, inputs):
        self.calls.append(inputs)
        return self.model.embed(inputs)

    def trunk(self, passes):
        return self.model.trunk(passes)

    def unembed(self, tokens, embedded):
        return self.model.unembed(tokens, embedded)


def reference_scheduler(solver):
    from diffusers import DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler, UniPCMultistepScheduler

    flow = {"solver_order": 2, "prediction_type": "flow_prediction", "use_flow_sigmas": True}
    if solver == "euler":
        return FlowMatchEulerDiscreteScheduler()
    if solver == "unipc":
        return UniPCMultistepScheduler(**flow)
    return DPMSolverMultistepScheduler(**flow)


@pytest.mark.parametrize("solver", ["euler", "unipc", "dpmpp_2m"])
def test_eight_steps_with_guidance_equal_diffusers(model, prompts, denoiser, solver):
    schedule = make_schedule("official", 8, 5.0)
    scheduler = reference_scheduler(solver)
    scheduler.set_timesteps(8)
    scheduler.sigmas, scheduler.timesteps = schedule.sigmas.float(), schedule.timesteps.float()
    scheduler.set_begin_index(0)
    latent = torch.randn(1, *SHAPE, generator=torch.Generator().manual_seed(SEED))  # as both pipelines start
    for timestep in scheduler.timesteps:
        positive, negative = (
            model(DitInputs(latent=latent, timestep=timestep.expand(1), text=prompt.text)) for prompt in prompts
        )
        velocity = negative + 5.0 * (positive - negative)
        latent = scheduler.step(velocity, timestep, latent, return_dict=False)[0]
    ours = run(denoiser, solver, schedule)[-1].latent
    assert (ours - latent).abs().max() / latent.abs().max() <= 1e-5


def test_video_to_video_starts_from_the_noised_latent(denoiser):
    clip = torch.randn(1, *SHAPE, generator=torch.Generator().manual_seed(1))
    seen = []
    schedule = make_schedule("simple", 4, 5.0, denoise=0.5)
    watching = replace(denoiser, model=CountingModel(denoiser.model, seen))
    run(watching, schedule=schedule, latent=clip)
    sigma = float(schedule.sigmas[0])
    assert sigma < 1
    torch.testing.assert_close(seen[0].latent, sigma * seeded_noise(SEED, SHAPE) + (1 - sigma) * clip)
    assert seen[0].timestep.tolist() == pytest.approx([1000 * sigma])


def first_latent(denoiser, schedule, latent):
    seen = []
    run(replace(denoiser, model=CountingModel(denoiser.model, seen)), "euler", schedule, latent)
    return seen[0].latent


@pytest.mark.parametrize("name", [name for name in SCHEDULES if name != "ddim_uniform"])
def test_a_whole_schedule_starts_from_plain_noise_also_below_sigma_one(denoiser, name):
    """As the official code and diffusers; their tables and `karras` begin at 0.9998 or so; `ddim_uniform` mixes."""
    clip = torch.randn(1, *SHAPE, generator=torch.Generator().manual_seed(1))
    assert torch.equal(first_latent(denoiser, make_schedule(name, 3, 5.0), clip), seeded_noise(SEED, SHAPE))


@pytest.mark.parametrize(
    "schedule",
    [make_schedule("official", 3, 5.0, denoise=0.5), from_sigmas(torch.tensor([0.9998, 0.5, 0.0]))],
    ids=["part of a schedule", "own table"],
)
def test_a_part_of_a_schedule_and_an_own_table_start_from_a_mixture_as_in_native_nodes(denoiser, schedule):
    clip = torch.randn(1, *SHAPE, generator=torch.Generator().manual_seed(1))
    sigma = float(schedule.sigmas[0])
    mixture = sigma * seeded_noise(SEED, SHAPE) + (1 - sigma) * clip
    assert torch.equal(first_latent(denoiser, schedule, clip), mixture)


def test_results_count_the_steps_and_end_clean(denoiser):
    results = run(denoiser)
    assert [result.step for result in results] == [1, 2, 3, 4] and {result.steps for result in results} == {4}
    assert results[-1].sigma == 0.0
    assert all(result.latent.shape == (1, *SHAPE) and result.latent.dtype == torch.float32 for result in results)
    torch.testing.assert_close(results[-1].latent, results[-1].denoised)


def test_no_denoise_returns_the_latent_itself(denoiser):
    latent = torch.randn(1, *SHAPE)
    results = run(denoiser, schedule=make_schedule("simple", 4, 5.0, 0.0), latent=latent)
    assert len(results) == 1 and torch.equal(results[0].latent, latent) and results[0].steps == 0


def test_cfg_of_exactly_one_never_runs_the_negative_prompt(model, prompts):
    calls = []
    plain = run(Denoiser(CountingModel(model, calls), *prompts, guidance=CFG(1.0)))
    assert len(calls) == 4 and all(torch.equal(call.text, prompts[0].text) for call in calls)
    other_negative = Denoiser(model, prompts[0], Conditioning(prompts[1].text * 100), guidance=CFG(1.0))
    assert torch.equal(plain[-1].latent, run(other_negative)[-1].latent)


def test_cfg_runs_both_prompts_and_weighs_them(model, prompts):
    calls = []
    run(Denoiser(CountingModel(model, calls), *prompts, guidance=CFG(1.001)))
    assert len(calls) == 8
    level, answers = NoiseLevel(0, 1, 1.0, 1000.0), (torch.tensor(2.0), torch.tensor(1.0))
    assert CFG(3.0).velocity(answers, level, torch.zeros(1), {}) == 4.0
    assert CFG(0.0).velocity(answers, level, torch.zeros(1), {}) == 1.0


def test_off_objects_equal_the_bare_loop_to_the_bit(model, prompts):
    """NoCache, WholeClip, CFG(1) and Resident beside a loop in which none of them exists."""
    schedule = make_schedule("simple", 5, 5.0)
    streamed = WanDiT(model.config).eval()
    streamed.load_state_dict(model.state_dict())
    denoiser = Denoiser(streamed, *prompts, guidance=CFG(1.0), cache=NoCache(), windows=WholeClip())
    latent = seeded_noise(SEED, SHAPE) * schedule.levels[0].sigma
    with torch.no_grad():
        for level, following in pairwise(schedule.levels):
            timestep = torch.tensor([level.timestep], dtype=torch.float32)
            velocity = model(DitInputs(latent=latent, timestep=timestep, text=prompts[0].text))
            latent = latent + (following.sigma - level.sigma) * velocity
    with Resident().streaming(streamed.blocks, latent.device, Slabs()) as stream:
        denoiser = replace(denoiser, model=RunningDiT(streamed, Execution(stream=stream, may_overwrite=True)))
        assert torch.equal(run(denoiser, "euler", schedule)[-1].latent, latent)


@pytest.mark.parametrize("solver", SOLVERS)
def test_same_seed_same_result_other_seed_other_result(denoiser, solver):
    state = torch.get_rng_state()
    first, again, other = (run(denoiser, solver, seed=seed)[-1].latent for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.allclose(first, other, atol=1e-3)
    assert torch.equal(torch.get_rng_state(), state), "the global generator was touched"


def test_noise_of_a_seed_is_comfyui_s():
    """comfy/sample.py prepare_noise: torch.manual_seed(seed) and one randn of the latent's shape on the CPU."""
    for seed in (0, 1234, 2**64 - 1):
        expected = torch.randn((2, *SHAPE), generator=torch.manual_seed(seed), device="cpu")
        assert torch.equal(seeded_noise(seed, SHAPE, batch=2), expected)


def test_step_noise_differs_from_the_starting_noise_and_between_steps():
    like = torch.zeros(1, *SHAPE, dtype=torch.float64)
    first, state = step_noise(2**64 - 1).draw(like)
    second, _ = state.draw(like)
    assert first.dtype == torch.float64
    assert not torch.equal(first, second) and not torch.equal(first.float(), seeded_noise(2**64 - 1, SHAPE))


def test_each_video_of_a_batch_has_the_step_noises_that_it_has_alone():
    """To the bit, drawn and between two levels; that of one video, and of the first of more, is the seed's after it."""
    like, levels = torch.zeros(3, *SHAPE), make_schedule("simple", 4, 5.0).levels
    several = step_noise(5, 3, (7, 0, 2))
    for place, number in enumerate((7, 0, 2)):
        state, alone = several, step_noise(5, 1, (number,))
        for level, following in pairwise(levels[:-1]):
            moved = state.between(level, following.sigma, like)
            assert torch.equal(moved[place], alone.between(level, following.sigma, like[:1])[0])
            (drawn, state), (own, alone) = state.draw(like), alone.draw(like[:1])
            assert torch.equal(drawn[place], own[0])
    generator = torch.Generator().manual_seed(6)
    expected = torch.randn(1, *SHAPE, generator=generator)
    for state in (step_noise(5), step_noise(5, 1, (0,)), step_noise(5, 2)):
        assert torch.equal(state.draw(like[: len(state.generators)])[0][:1], expected)


def test_step_noises_of_other_videos_and_of_other_seeds_differ():
    like = torch.zeros(1, *SHAPE)
    drawn = [step_noise(seed, 1, (number,)).draw(like)[0] for seed in range(3) for number in range(3)]
    assert all((one - other).abs().max() > 1 for one, other in combinations(drawn, 2))


def test_numbers_of_more_videos_than_there_are_are_refused():
    with pytest.raises(InvalidInputError, match="numbers 2 videos, but the batch has 3"):
        step_noise(5, 3, (0, 1))


def test_a_run_in_two_parts_equals_the_whole(denoiser):
    """Sigmas cut in two: the second part continues, without noise, what the first part returned."""
    sigmas = make_schedule("simple", 6, 5.0).sigmas
    whole = run(denoiser, "euler", from_sigmas(sigmas))[-1].latent
    middle = run(denoiser, "euler", from_sigmas(sigmas[:4]))[-1].latent
    latent = add_noise(middle, torch.zeros_like(middle), float(sigmas[3]))
    with torch.no_grad():
        *_, latent = walk("euler", step_noise(0), denoiser.start(), latent, from_sigmas(sigmas[3:]).levels)
    torch.testing.assert_close(latent, whole, rtol=1e-4, atol=1e-5)


def test_batch_equals_each_alone(denoiser):
    both = run(denoiser, latent=torch.zeros(2, *SHAPE))[-1].latent
    alone = run(denoiser)[-1].latent  # the first sample's noise does not depend on the batch size
    torch.testing.assert_close(both[:1], alone, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(both[:1], both[1:])


def test_an_exception_in_the_block_hook_ends_the_run_within_a_block(denoiser):
    blocks = []

    def watched(on_block):
        return replace(denoiser, model=RunningDiT(denoiser.model, Execution(on_block=on_block)))

    def note(index, _tokens):
        blocks.append(index)

    def interrupt(index, _tokens):
        blocks.append(index)
        if len(blocks) == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(watched(interrupt))
    assert blocks == [0, 1, 0, 1, 0, 1]  # 2 blocks, positive and negative: stopped in the second step
    undisturbed = run(denoiser)[-1].latent
    assert torch.equal(run(watched(note))[-1].latent, undisturbed)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_model_that_fails_is_reported_at_its_step(model, prompts, value):
    calls = []

    def failing(inputs):
        calls.append(inputs)
        velocity = model(inputs)
        if len(calls) == 3:
            velocity[0, 0, 0, 0, :2] = value
        return velocity

    denoiser = Denoiser(WholeModel(failing), *prompts, guidance=CFG(1.0))
    with pytest.raises(NumericalError, match=r"Step 3 of 4 \(sigma 0\.\d+\) gave 2 values that are NaN or infinite"):
        run(denoiser, "euler")


def test_refusals_of_latent_seed_and_cfg(denoiser):
    with pytest.raises(InvalidInputError, match="holds 48 values that are NaN"):
        run(denoiser, latent=torch.full((1, 16, 3, 1, 1), math.nan))
    with pytest.raises(InvalidInputError, match=r"5 dimensions .* got \[1, 16, 6, 8\]"):
        run(denoiser, latent=torch.zeros(1, 16, 6, 8))
    for seed in (-1, 2**64, 1.5):
        with pytest.raises(InvalidInputError, match="The seed must be a whole number from 0"):
            run(denoiser, seed=seed)
    for scale in (-1.0, 101.0, math.nan):
        with pytest.raises(InvalidInputError, match="Cfg must be from 0 to 100"):
            CFG(scale)
