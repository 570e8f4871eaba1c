"""Guidance of three questions, a cache and overlapping windows, none of which a user has yet: each fits its seam."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import pytest
import torch
from safetensors.torch import load, save
from wan_director.common.errors import PairingError
from wan_director.dit.branches.vace import VaceBranch
from wan_director.dit.conditioning.cut import Cut
from wan_director.dit.conditioning.start_image import KeyframeImages
from wan_director.dit.conditioning.vace import VaceControl
from wan_director.dit.config import DiTConfig
from wan_director.dit.execution import Execution
from wan_director.dit.inputs import Conditioning
from wan_director.dit.model import RunningDiT, WanDiT
from wan_director.sampling.ask import NEGATIVE, POSITIVE, Ask, SkippedBlocks
from wan_director.sampling.cache import NOTHING_KEPT, Tally
from wan_director.sampling.denoiser import Denoiser
from wan_director.sampling.guidance import CFG, most_asks
from wan_director.sampling.loop import begin, sample
from wan_director.sampling.prompts import PromptPart, Prompts
from wan_director.sampling.schedule import make_schedule
from wan_director.sampling.solvers import SOLVERS
from wan_director.sampling.state import state_of
from wan_director.sampling.step import NoiseLevel
from wan_director.sampling.windows import WHOLE_CLIP, ClipShape

FRAMES, HEIGHT, WIDTH = 5, 4, 6
SIZES = {"dim": 24, "ffn_dim": 32, "heads": 2, "layers": 3, "text_dim": 12, "text_tokens": 5, "freq_dim": 16}
KINDS = {
    "t2v": {},
    "i2v": {"in_channels": 36},
    "vace": {"branches": (VaceBranch(2),)},
    "5b": {"in_channels": 48, "out_channels": 48},
}
LEAN = Execution(may_overwrite=True)
LEVEL = NoiseLevel(0, 4, 0.9, 900.0)
SCHEDULE = make_schedule("simple", 4, 5.0)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@dataclass(frozen=True)
class Setting:
    model: WanDiT
    positive: Conditioning
    negative: Conditioning
    latent: torch.Tensor
    timesteps: torch.Tensor

    def denoiser(self, execution: Execution = LEAN, **options) -> Denoiser:
        return Denoiser(RunningDiT(self.model, execution), self.positive, self.negative, **options)

    def ask(self, **options) -> torch.Tensor:
        with torch.no_grad():
            return self.denoiser(**options).start()(self.latent, LEVEL, self.timesteps)

    def model_on(self, part: slice, prompt: Conditioning) -> torch.Tensor:
        """The model alone, on some frames and what goes with them."""
        times = self.timesteps if self.timesteps.ndim == 1 else self.timesteps[:, part]
        items = []
        for item in prompt.items:
            if isinstance(item, KeyframeImages):
                items.append(KeyframeImages(item.latent[:, :, part], item.mask[:, :, part]))
            else:
                items.append(VaceControl(item.channels[:, :, part], item.strength))
        with torch.no_grad():
            return self.model(Conditioning(prompt.text, tuple(items)).inputs(self.latent[:, :, part], times))


def setting(kind: str) -> Setting:
    torch.manual_seed(0)
    model = WanDiT(DiTConfig(**SIZES, **KINDS[kind])).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.copy_(torch.randn_like(parameter) * 0.2 + float(parameter.ndim == 1))
    items = ()
    if kind == "i2v":
        items = (KeyframeImages(random(1, 16, FRAMES, HEIGHT, WIDTH), random(1, 4, FRAMES, HEIGHT, WIDTH)),)
    if kind == "vace":
        items = (VaceControl(random(1, 96, FRAMES, HEIGHT, WIDTH), 0.7),)
    channels = 48 if kind == "5b" else 16
    times = torch.tensor([[0.0, 900.0, 900.0, 450.0, 900.0]]) if kind == "5b" else torch.tensor([900.0])
    sides = (Conditioning(random(1, 5, 12, seed=seed), items) for seed in (1, 2))
    return Setting(model, *sides, random(1, channels, FRAMES, HEIGHT, WIDTH, seed=3), times)


@dataclass(frozen=True)
class AwayFromWeak:
    """Classifier-free guidance, and away from a model without some of its blocks, in the first steps."""

    scale: float
    push: float
    blocks: frozenset[int]
    steps: int = 2

    def asks(self, level):
        weak = Ask("positive", (SkippedBlocks(self.blocks),))
        return (POSITIVE, NEGATIVE, weak) if level.index < self.steps else (POSITIVE, NEGATIVE)

    def velocity(self, answers, level, latent, memory):
        guided = CFG(self.scale).velocity(answers[:2], level, latent, memory)
        return guided if len(answers) == 2 else guided + self.push * (answers[0] - answers[2])


@dataclass(frozen=True)
class EveryOther:
    """Runs the blocks in every other step, and adds the same change as then in the others."""

    fewest_steps = 0

    def start(self, evaluation, kept=NOTHING_KEPT):
        return EveryOtherRun(evaluation, dict(kept))

    def kept_bytes(self, asks, tokens_bytes, latent_bytes):
        return asks * tokens_bytes


class EveryOtherRun:
    tally = Tally()

    def __init__(self, evaluation, changes):
        self.evaluation, self.changes = evaluation, changes

    def velocities(self, questions, model):
        if self.evaluation.step.index % 2:
            return [
                model.unembed(each.embedded.tokens + self.changes[self.name(each.ask)], each.embedded).float()
                for each in questions
            ]
        names, passes = [self.name(each.ask) for each in questions], [each.embedded for each in questions]
        before = [each.tokens.clone() for each in passes]
        tokens = model.trunk(passes)
        self.changes |= {name: after - old for name, after, old in zip(names, tokens, before)}
        return [model.unembed(each, embedded).float() for each, embedded in zip(tokens, passes)]

    def name(self, ask):
        return f"{ask.side} {ask.part} {len(ask.perturbations)}"

    def kept(self):
        return self.changes


@dataclass(frozen=True)
class Overlapping:
    """Windows of three frames, each two further; the middle of each counts double."""

    def cuts(self, clip, level):
        return tuple(Cut(start, start + 3, clip.frames) for start in range(0, clip.frames - 2, 2))

    def weights(self, cut, clip):
        return torch.tensor([1.0, 2.0, 1.0])[:, None, None]


def together(asks):
    return [asks]


GUIDANCE = AwayFromWeak(3.0, 1.5, frozenset({1}))


@pytest.mark.parametrize("kind", KINDS)
def test_a_guidance_of_three_questions_gets_three_answers(kind):
    given = setting(kind)
    with torch.no_grad():
        positive, negative = (side.inputs(given.latent, given.timesteps) for side in (given.positive, given.negative))
        weak = replace(positive, skipped=frozenset({1}))
        full, other, less = (given.model(inputs) for inputs in (positive, negative, weak))
    expected = other + 3.0 * (full - other) + 1.5 * (full - less)
    assert torch.equal(given.ask(guidance=GUIDANCE), expected)
    assert torch.equal(given.ask(guidance=GUIDANCE, grouped=together), expected)
    assert torch.equal(given.ask(guidance=replace(GUIDANCE, steps=0)), given.ask(guidance=CFG(3.0)))


def test_the_busiest_step_counts():
    assert len(most_asks(GUIDANCE, SCHEDULE.levels[:-1])) == 3
    assert len(most_asks(CFG(3.0), SCHEDULE.levels[:-1])) == 2 and len(most_asks(CFG(1.0), SCHEDULE.levels[:-1])) == 1
    assert most_asks(CFG(3.0), ()) == ()


def test_all_questions_that_go_together_need_the_weights_once():
    given, turns = setting("t2v"), Counter()

    def counting(blocks):
        for block in blocks:
            turns[block] += 1
            yield block

    execution = Execution(stream=counting)
    given.ask(execution=execution, guidance=GUIDANCE, grouped=together)
    assert set(turns.values()) == {1}
    given.ask(execution=execution, guidance=GUIDANCE)
    assert set(turns.values()) == {4}


@pytest.mark.parametrize("kind", KINDS)
def test_windows_cut_the_latent_and_all_that_steers_it(kind):
    given = setting(kind)
    first, second = (given.model_on(slice(start, start + 3), given.positive) for start in (0, 2))
    shared = (first[:, :, 2:] + second[:, :, :1]) / 2  # each at its edge
    expected = torch.cat([first[:, :, :2], shared, second[:, :, 1:]], 2)
    torch.testing.assert_close(given.ask(windows=Overlapping()), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_the_whole_clip_is_no_window_to_the_bit(kind):
    given = setting(kind)
    assert torch.equal(given.ask(windows=WHOLE_CLIP), given.model_on(slice(0, FRAMES), given.positive))
    clip = ClipShape(FRAMES, HEIGHT, WIDTH)
    (whole,) = WHOLE_CLIP.cuts(clip, SCHEDULE.levels[0])
    assert whole == Cut(0, FRAMES, FRAMES) and WHOLE_CLIP.weights(whole, clip).flatten().tolist() == [1] * FRAMES


def test_a_window_cuts_the_weights_of_several_prompts():
    given = setting("t2v")
    by_frame = torch.linspace(0, 1, FRAMES).view(1, 1, -1, 1, 1)
    parts = (PromptPart(given.positive, weight=by_frame), PromptPart(given.negative, weight=1.5 - by_frame))
    whole = replace(given, positive=Prompts(parts))
    windows = []
    for start in (0, 2):
        part = slice(start, start + 3)
        both = [given.model_on(part, side) for side in (given.positive, given.negative)]
        weights = by_frame[:, :, part], 1.5 - by_frame[:, :, part]
        windows.append(sum(velocity * weight for velocity, weight in zip(both, weights)) / 1.5)
    shared = (windows[0][:, :, 2:] + windows[1][:, :, :1]) / 2
    expected = torch.cat([windows[0][:, :, :2], shared, windows[1][:, :, 1:]], 2)
    torch.testing.assert_close(whole.ask(windows=Overlapping()), expected, rtol=0, atol=1e-6)


def test_conditioning_of_another_length_is_refused_and_not_cut():
    given = setting("vace")
    longer = VaceControl(random(1, 96, FRAMES + 1, HEIGHT, WIDTH))
    given = replace(given, positive=replace(given.positive, items=(longer,)))
    for windows in (Overlapping(), WHOLE_CLIP):
        with pytest.raises(PairingError, match="of the same (size and )?length"):
            given.ask(windows=windows)


def steps_of(denoiser: Denoiser, latent: torch.Tensor, start=None, solver: str = "euler") -> list:
    start = start or begin(SOLVERS[solver], SCHEDULE, latent, seed=3)
    return [*sample(denoiser, SOLVERS[solver], SCHEDULE, start)]


@pytest.mark.parametrize("windows", [WHOLE_CLIP, Overlapping()], ids=["whole", "windows"])
def test_a_cache_remembers_each_question_in_each_window(windows):
    given = setting("t2v")
    options = {"guidance": GUIDANCE, "windows": windows, "cache": EveryOther()}
    run = []
    watched = given.denoiser(Execution(on_block=lambda index, _tokens: run.append(index)), **options)
    states = steps_of(watched, torch.zeros_like(given.latent))
    per_step = 3 * len(windows.cuts(ClipShape(FRAMES, HEIGHT, WIDTH), SCHEDULE.levels[0]))  # three blocks
    assert len(run) == 3 * per_step + 2 * per_step  # three questions in the first step, two in the third
    joined = steps_of(given.denoiser(**options, grouped=together), torch.zeros_like(given.latent))
    plain = steps_of(given.denoiser(guidance=GUIDANCE, windows=windows), torch.zeros_like(given.latent))
    assert torch.equal(states[-1].latent, joined[-1].latent)
    assert torch.equal(states[0].latent, plain[0].latent) and not torch.equal(states[1].latent, plain[1].latent)
    for state in states[:-1]:
        again = steps_of(given.denoiser(**options), given.latent, state_of(load(save(state.tensors()))))
        assert torch.equal(again[-1].latent, states[-1].latent)


def test_a_question_asked_again_after_a_failure_finds_the_cache_as_it_was():
    given, calls = setting("t2v"), []

    def fail_once(index, _tokens):
        calls.append(index)
        if len(calls) == 5:  # the negative prompt of the third step is half done
            raise MemoryError

    def again(predict, *asked):
        try:
            return predict(*asked)
        except MemoryError:
            return predict(*asked)

    options = {"guidance": CFG(3.0), "cache": EveryOther()}
    execution = Execution(on_block=fail_once)
    failing = steps_of(given.denoiser(execution, **options, carefully=again), torch.zeros_like(given.latent))
    assert len(calls) > 12
    assert torch.equal(
        failing[-1].latent, steps_of(given.denoiser(**options), torch.zeros_like(given.latent))[-1].latent
    )


def test_what_one_expert_remembers_is_not_the_others():
    given = setting("t2v")
    latent, options = torch.zeros_like(given.latent), {"guidance": CFG(3.0), "cache": EveryOther()}
    first = steps_of(given.denoiser(**options, name="high"), latent)[0]
    assert first.cache and all(name.startswith("high/") for name in first.cache)
    other = given.denoiser(**options, name="low").start(first.cache)
    with pytest.raises(KeyError), torch.no_grad():
        other(given.latent, replace(LEVEL, index=1))  # has nothing to add
