"""A causal run: chunks one after the other, each with all steps, and what the model remembers in between."""

from __future__ import annotations

import runpy
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from wan_director.common.errors import InvalidInputError
from wan_director.dit.config import DiTConfig
from wan_director.dit.execution import Execution
from wan_director.dit.inputs import Conditioning, DitInputs
from wan_director.dit.model import RunningDiT, WanDiT
from wan_director.dit.past import Past
from wan_director.sampling.ask import AvoidedText
from wan_director.sampling.causal.loop import CausalRun, begin_chunks, sample_chunks
from wan_director.sampling.causal.order import AT_ONCE, ChunkByChunk
from wan_director.sampling.denoiser import Denoiser
from wan_director.sampling.given import NOTHING_GIVEN, GivenFrames, NoisyRegion
from wan_director.sampling.guidance import CFG
from wan_director.sampling.guidance.nag import AttentionGuidance
from wan_director.sampling.noise import seeded_noise
from wan_director.sampling.schedule import make_schedule
from wan_director.sampling.solvers import SOLVERS
from wan_director.sampling.state import SamplerState, state_of

FIXTURES = Path(__file__).parent / "fixtures"
NATIVE = runpy.run_path(str(FIXTURES / "causal_models.py"))
RUNS, EXPECTED = NATIVE["RUNS"], load_file(FIXTURES / "native_causal.safetensors")

CONFIG = DiTConfig(dim=48, ffn_dim=80, heads=4, layers=2, text_dim=24, text_tokens=8, freq_dim=16)
SHAPE = (1, 16, 5, 8, 8)
SCHEDULE = make_schedule("simple", 4, 5.0)
SEED = 7


class OneModel:
    """Asks one model in all steps; notes which it was made ready for."""

    def __init__(self, denoiser: Denoiser) -> None:
        self.denoiser = denoiser
        self.begun: list[int] = []

    def begin_step(self, level) -> None:
        self.begun.append(level.index)

    def seeing(self, cut, memories) -> Denoiser:
        return self.denoiser.seeing(cut, memories)


@pytest.fixture(scope="module")
def model() -> WanDiT:
    torch.manual_seed(0)
    model = WanDiT(CONFIG).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.05)
    return model


def prompt(seed: int) -> Conditioning:
    return Conditioning(torch.randn(1, 8, 24, generator=torch.Generator().manual_seed(seed)))


def turns_of(model: WanDiT, cfg: float = 1.0, **options) -> OneModel:
    return OneModel(Denoiser(RunningDiT(model, Execution()), prompt(1), prompt(2), guidance=CFG(cfg), **options))


def run_of(order: ChunkByChunk, solver: str = "lcm", given=NOTHING_GIVEN, schedule=SCHEDULE) -> CausalRun:
    return CausalRun(order, SOLVERS[solver], schedule, given, SEED, None, CONFIG)


def states(turns: OneModel, run: CausalRun, latent: Tensor | None = None) -> list[SamplerState]:
    return list(sample_chunks(turns, run, begin_chunks(run, torch.zeros(SHAPE) if latent is None else latent)))


def by_hand(model: WanDiT, sizes: list[int], cfg: float = 1.0, start: Tensor | None = None) -> Tensor:
    """Self Forcing's algorithm 2, written out: steps that noise the guess afresh, then a pass over the clean chunk."""
    latent = seeded_noise(SEED, SHAPE[1:], 1)
    pasts = [Past(CONFIG.layers, CONFIG.heads, SHAPE[2]) for _ in range(1 if cfg == 1.0 else 2)]
    texts = [prompt(1).text, prompt(2).text]

    def velocity(part: Tensor, timestep: float) -> Tensor:
        told = torch.full((1,), timestep)
        answers = [model(DitInputs(part, told, text, past=past)) for text, past in zip(texts, pasts)]
        return answers[0] if cfg == 1.0 else answers[1] + cfg * (answers[0] - answers[1])

    def remember(part: Tensor) -> None:
        velocity(part, 0.0)
        [past.keep() for past in pasts]

    begun = 0
    if start is not None:
        begun = start.shape[2]
        [past.begin(begun) for past in pasts]
        remember(start)
        latent[:, :, :begun] = start
    for number, size in enumerate(sizes):
        part = latent[:, :, begun : begun + size]
        [past.begin(size) for past in pasts]
        for step, (sigma, following) in enumerate(pairwise(SCHEDULE.sigmas.tolist())):
            clean = part - sigma * velocity(part, 1000 * sigma)
            noise = torch.randn(part.shape, generator=torch.Generator().manual_seed(SEED + 1 + 1000 * number + step))
            part = (1 - following) * clean + following * noise
        latent[:, :, begun : begun + size] = part
        remember(part)
        begun += size
    return latent


@pytest.mark.parametrize(("frames", "sizes"), [(1, [1] * 5), (2, [2, 2, 1]), (5, [5])])
@pytest.mark.parametrize("cfg", [1.0, 3.0])
def test_a_run_is_the_algorithm_written_out(model, frames, sizes, cfg):
    (*_, last) = states(turns_of(model, cfg), run_of(ChunkByChunk(frames)))
    expected = by_hand(model, sizes, cfg)
    assert (last.latent - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert (last.step, last.steps, last.sigma) == (4 * len(sizes), 4 * len(sizes), 0.0)


def test_a_start_picture_is_seen_and_stays(model):
    latent = torch.randn(SHAPE, generator=torch.Generator().manual_seed(5))
    given = NoisyRegion(latent, torch.tensor([0.0, 1, 1, 1, 1]).view(1, 1, 5, 1, 1).expand(1, 1, -1, 8, 8), latent)
    (*_, last) = states(turns_of(model), run_of(ChunkByChunk(2), given=given), latent)
    expected = by_hand(model, [2, 2], start=latent[:, :, :1])
    assert (last.latent - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert torch.equal(last.latent[:, :, :1], latent[:, :, :1])
    frames = GivenFrames(latent, torch.tensor([True, False, False, False, False]))
    (*_, same) = states(turns_of(model), run_of(ChunkByChunk(2), given=frames), latent)
    assert torch.equal(same.latent, last.latent)


def test_frames_that_are_there_are_looked_at_in_chunks_the_shorter_one_first():
    order = ChunkByChunk(3)
    assert [(cut.start, cut.stop) for cut in order.given(9, 5)] == [(0, 2), (2, 5)]
    assert [(cut.start, cut.stop) for cut in order.made(9, 5)] == [(5, 8), (8, 9)]
    assert order.given(9, 0) == () and len(order.made(9, 0)) == order.rounds(9) == 3


def test_a_part_of_a_frame_may_be_kept(model):
    latent = torch.randn(SHAPE, generator=torch.Generator().manual_seed(5))
    mask = torch.ones(1, 1, 5, 8, 8)
    mask[..., 2:4, :4, :] = 0
    given = NoisyRegion(latent, mask, seeded_noise(SEED, SHAPE[1:], 1))
    (*_, last) = states(turns_of(model), run_of(ChunkByChunk(2), given=given), latent)
    kept = (mask == 0).expand(SHAPE)
    assert torch.equal(last.latent[kept], latent[kept])
    assert not torch.equal(last.latent[~kept], latent[~kept])


@pytest.mark.parametrize("solver", ["lcm", "euler", "unipc", "dpmpp_2m", "dpmpp_sde", "heun"])
def test_a_run_goes_on_from_any_state_with_the_same_bits(model, solver):
    run = run_of(ChunkByChunk(2, window_frames=3, sink_frames=1), solver)
    all_states = states(turns_of(model, 3.0), run)
    for state in all_states:
        saved = state_of(state.tensors())
        rest = list(sample_chunks(turns_of(model, 3.0), run, saved))
        assert len(rest) == saved.steps - saved.step
        assert not rest or torch.equal(rest[-1].latent, all_states[-1].latent)


def test_frames_that_are_done_stay_as_they_are(model):
    run = run_of(ChunkByChunk(2))
    for state in states(turns_of(model), run):
        done = 2 * (state.step // 4)
        if state.step % 4 == 0:
            finished = state.latent[:, :, :done].clone()
        elif done:
            assert torch.equal(state.latent[:, :, :done], finished)
            assert torch.equal(state.denoised[:, :, :done], finished)


def test_the_model_is_made_ready_for_each_step_and_remembers_as_in_the_last(model):
    turns = turns_of(model)
    states(turns, run_of(ChunkByChunk(3)))
    assert turns.begun == [0, 3, 0]  # those within a chunk are the walk's
    given = GivenFrames(torch.zeros(SHAPE), torch.tensor([True, False, False, False, False]))
    turns = turns_of(model)
    states(turns, run_of(ChunkByChunk(2), given=given))
    assert turns.begun == [3, 0, 3, 0]


def test_a_window_changes_only_what_lies_behind_it(model):
    whole, near = (
        states(turns_of(model), run_of(order))[-1].latent
        for order in (ChunkByChunk(1), ChunkByChunk(1, window_frames=3, sink_frames=1))
    )
    assert torch.equal(whole[:, :, :3], near[:, :, :3])
    assert not torch.equal(whole[:, :, 3:], near[:, :, 3:])


def test_the_noise_level_that_finished_chunks_are_seen_at_counts(model):
    clean, noisy = (
        states(turns_of(model), run_of(ChunkByChunk(2, context_noise=noise)))[-1].latent for noise in (0.0, 0.1)
    )
    assert torch.equal(clean[:, :, :2], noisy[:, :, :2])
    assert not torch.equal(clean[:, :, 2:], noisy[:, :, 2:])


def test_a_video_of_a_batch_is_the_one_alone(model):
    def run(number: int | None) -> Tensor:
        batch = (0, 1) if number is None else (number,)
        own = replace(run_of(ChunkByChunk(2)), batch_index=batch)
        return states(turns_of(model), own, torch.zeros(len(batch), *SHAPE[1:]))[-1].latent

    both = run(None)
    for number in range(2):
        alone = run(number)
        assert (both[number : number + 1] - alone).abs().max() <= 1e-5 * alone.abs().max()
    assert not torch.equal(both[:1], both[1:])


def test_negative_prompts_inside_of_attention_are_remembered_too(model):
    guidance = AttentionGuidance(CFG(1.0), AvoidedText(5.0, 0.5, 1.5))
    plain = turns_of(model)
    led = OneModel(replace(plain.denoiser, guidance=guidance))
    run = run_of(ChunkByChunk(2))
    assert not torch.equal(states(led, run)[-1].latent, states(plain, run)[-1].latent)


def test_without_a_causal_order_nothing_is_remembered(model):
    denoiser = turns_of(model).denoiser
    inputs = DitInputs(torch.zeros(SHAPE), torch.zeros(1), prompt(1).text)
    assert denoiser.placed(None, inputs).past is None
    assert (AT_ONCE.rounds(9), AT_ONCE.frames_at_once(9), AT_ONCE.frames_kept(9)) == (1, 9, 0)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ((0,), "A chunk has 1 latent frame or more, .* got 0, 0 and 0"),
        ((3, 3, 1), "window of 3 latent frames has no room for a chunk of 3 and a sink of 1. Make it 4"),
        ((1, 0, 0, 1.5), "noise level from 0 .clean. to 1, got 1.5"),
    ],
)
def test_numbers_that_cannot_work_together_are_refused(values, words):
    with pytest.raises(InvalidInputError, match=words):
        ChunkByChunk(*values)


@pytest.mark.parametrize("name", RUNS)
def test_a_run_equals_that_of_comfyuis_own_model_and_sampler(name):
    """Recorded from ComfyUI 0.33.0, whose steps draw their noise from the run's own seed."""
    told, (text, picture) = RUNS[name], NATIVE["random_inputs"]()
    config = DiTConfig(**NATIVE["SIZES"])
    native = WanDiT(config).eval().requires_grad_(False)
    native.load_state_dict(
        NATIVE["random_like"]({key: tuple(value.shape) for key, value in native.state_dict().items()})
    )
    weights = sum(value.double().sum() for value in native.state_dict().values())
    torch.testing.assert_close(weights.reshape(1), EXPECTED["weights"])  # else the fixture is of other weights
    latent, given = torch.zeros(NATIVE["SHAPE"]), NOTHING_GIVEN
    if told.has_picture:
        latent = torch.cat([picture, latent[:, :, 1:]], dim=2)
        given = GivenFrames(latent, torch.tensor([True, False, False, False, False]))
    run = CausalRun(
        ChunkByChunk(told.chunk_frames, step_seed=0), SOLVERS["lcm"], make_schedule("simple", told.steps, told.shift),
        given, NATIVE["SEED"], None, config,
    )  # fmt: skip
    turns = OneModel(
        Denoiser(RunningDiT(native, Execution()), Conditioning(text), Conditioning(text), guidance=CFG(1.0))
    )
    made, expected = states(turns, run, latent)[-1].latent, EXPECTED[name]
    assert (made - expected).abs().max() <= 1e-5 * expected.abs().max()
