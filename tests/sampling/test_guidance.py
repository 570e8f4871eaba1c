"""Each kind of guidance against diffusers' own, on random answers of the model; off is plain guidance to the bit."""

from __future__ import annotations

import math

import pytest
import torch
from diffusers.guiders import (
    AdaptiveProjectedGuidance,
    ClassifierFreeZeroStarGuidance,
    SkipLayerGuidance,
    TangentialClassifierFreeGuidance,
)
from diffusers.guiders.adaptive_projected_guidance import MomentumBuffer
from wan_director.common.errors import InvalidInputError
from wan_director.dit.conditioning.characters.subjects import SubjectPicture
from wan_director.dit.conditioning.in_context import ContextClip
from wan_director.dit.inputs import DitInputs
from wan_director.sampling.ask import NEGATIVE, POSITIVE, AvoidedText
from wan_director.sampling.guidance import (
    CFG,
    NOTHING_SHOWN,
    SOURCE_SHOWN,
    AdaptiveProjected,
    BlurredFrames,
    CfgZeroStar,
    GuidanceSettings,
    LowPass,
    PartOfNoise,
    PartOfSteps,
    ShownSubjects,
    SkipLayers,
    SkippedLayers,
    StagedContext,
    TangentialDamping,
    check_blocks,
    parse_curve,
    parts_of,
)
from wan_director.sampling.guidance.low_pass import blurred
from wan_director.sampling.step import NoiseLevel

SHAPE = (2, 16, 3, 6, 8)
BLOCKS = frozenset({1, 2})


def random(seed: int) -> torch.Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


def level(index: int, steps: int = 10) -> NoiseLevel:
    return NoiseLevel(index, steps, 1.0 - index / steps, 1000.0 * (1.0 - index / steps))


COMMON = random(5)
POSITIVE_ANSWER, NEGATIVE_ANSWER, WEAK_ANSWER = (COMMON + 0.5 * random(seed) for seed in (1, 2, 3))
LATENT = random(4)


def told(guider, index: int, steps: int = 10):
    guider.set_state(step=index, num_inference_steps=steps, timestep=torch.tensor(0))
    return guider


def furthest(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float((ours - theirs).abs().max() / theirs.abs().max())


def both(guidance, at: NoiseLevel) -> torch.Tensor:
    assert guidance.asks(at) == (POSITIVE, NEGATIVE)
    return guidance.velocity((POSITIVE_ANSWER, NEGATIVE_ANSWER), at, LATENT, {})


@pytest.mark.parametrize("scale", [0.5, 3.0, 7.5])
def test_cfg_zero_star_is_that_of_diffusers(scale):
    theirs = told(ClassifierFreeZeroStarGuidance(scale, zero_init_steps=1), 3)
    expected = theirs.forward(POSITIVE_ANSWER, NEGATIVE_ANSWER).pred
    assert furthest(both(CfgZeroStar(scale, 1), level(3)), expected) < 1e-6


def test_zero_steps_ask_nothing_and_do_not_move():
    guidance = CfgZeroStar(5.0, zero_steps=2)
    assert [len(guidance.asks(level(index))) for index in range(4)] == [0, 0, 2, 2]
    still = guidance.velocity((), level(1), LATENT, {})
    theirs = told(ClassifierFreeZeroStarGuidance(5.0, zero_init_steps=2), 1)
    assert torch.equal(still, theirs.forward(POSITIVE_ANSWER, NEGATIVE_ANSWER).pred)


@pytest.mark.parametrize(("scale", "parallel", "longest"), [(5.0, 0.0, 0.0), (5.0, 0.3, 15.0), (2.0, 1.0, 1e9)])
def test_adaptive_projected_guidance_is_that_of_diffusers(scale, parallel, longest):
    theirs = AdaptiveProjectedGuidance(
        scale,
        eta=parallel,
        adaptive_projected_guidance_rescale=longest,
        adaptive_projected_guidance_norm_dim=(-1, -2, -3, -4),
    )
    expected = told(theirs, 3).forward(POSITIVE_ANSWER, NEGATIVE_ANSWER).pred
    assert furthest(both(AdaptiveProjected(scale, parallel, longest), level(3)), expected) < 1e-6


def test_projection_with_its_parallel_part_is_plain_guidance():
    assert furthest(both(AdaptiveProjected(4.0, 1.0), level(0)), both(CFG(4.0), level(0))) < 1e-6


def test_tangential_damping_is_that_of_diffusers_by_an_exact_decomposition():
    """diffusers decomposes in float32, which alone is 2e-5 off: the bound to it is that distance of its own."""
    ours = both(TangentialDamping(4.0), level(3))
    pairs = torch.stack((POSITIVE_ANSWER, NEGATIVE_ANSWER), dim=1).double().flatten(2)
    directions = torch.linalg.svd(pairs, full_matrices=False).Vh[:, :1]
    damped = (pairs[:, 1:] @ directions.transpose(1, 2) @ directions).view(SHAPE)
    exact = damped + 4.0 * (POSITIVE_ANSWER - damped)
    theirs = told(TangentialClassifierFreeGuidance(4.0), 3).forward(POSITIVE_ANSWER, NEGATIVE_ANSWER).pred
    assert furthest(ours, exact) < 1e-6
    assert furthest(ours, theirs) < 1.1 * furthest(theirs.double(), exact)


def test_skip_layer_guidance_is_that_of_diffusers():
    ours = SkipLayers(CFG(5.0), BLOCKS, 2.8, PartOfSteps(0.1, 0.6))
    theirs = SkipLayerGuidance(
        5.0,
        skip_layer_guidance_scale=2.8,
        skip_layer_guidance_start=0.0,
        skip_layer_guidance_stop=0.6,
        skip_layer_guidance_layers=[1, 2],
    )
    asked = [len(ours.asks(level(index))) for index in range(10)]
    assert asked == [told(theirs, index).num_conditions for index in range(10)] == [2, 3, 3, 3, 3, 3, 2, 2, 2, 2]
    weak = ours.asks(level(3))[2]
    assert weak.side == "positive" and weak.perturbations[0].blocks == BLOCKS
    answers = (POSITIVE_ANSWER, NEGATIVE_ANSWER, WEAK_ANSWER)
    expected = told(theirs, 3).forward(*answers).pred
    assert furthest(ours.velocity(answers, level(3), LATENT, {}), expected) < 1e-6


def test_the_spread_of_the_clean_guess_can_be_set_back():
    plain = SkipLayers(CFG(5.0), BLOCKS, 3.0)
    whole = SkipLayers(CFG(5.0), BLOCKS, 3.0, rescale=1.0)
    at, answers = level(4), (POSITIVE_ANSWER, NEGATIVE_ANSWER, WEAK_ANSWER)

    def clean(velocity):
        return LATENT - at.sigma * velocity

    assert clean(plain.velocity(answers, at, LATENT, {})).std() > 1.5 * clean(POSITIVE_ANSWER).std()
    spread = clean(whole.velocity(answers, at, LATENT, {})).std()
    assert abs(float(spread / clean(POSITIVE_ANSWER).std()) - 1.0) < 1e-5


def test_a_part_by_noise_holds_its_ends():
    part = PartOfNoise(0.9, 0.5)
    assert [part.holds(level(index)) for index in range(10)] == [index in range(1, 6) for index in range(10)]


def test_a_course_of_the_scale_by_step_and_by_part():
    steps, course = parse_curve("6, 4,1"), parse_curve("0:6, 0.5:3,1:1")
    assert [steps.at(level(index, 5)) for index in range(5)] == [6.0, 4.0, 1.0, 1.0, 1.0]
    expected = [6.0, 5.4, 4.8, 4.2, 3.6, 3.0, 2.6, 2.2, 1.8, 1.4]
    assert [course.at(level(index)) for index in range(10)] == pytest.approx(expected)
    late = parse_curve("0.5:3")
    assert [late.at(level(index)) for index in (0, 9)] == [3.0, 3.0]
    assert parse_curve(" ") is None


@pytest.mark.parametrize("text", ["six", "6,", "0:6, 4", "0.5:3, 0.2:6", "0:3, 1.5:2", "-1", "6 4", "0:nan", "101"])
def test_a_course_that_is_none_is_refused(text):
    with pytest.raises(InvalidInputError, match="cfg|Cfg"):
        parse_curve(text)


def test_the_scale_of_a_step_is_that_of_the_course_and_of_the_part():
    course = GuidanceSettings(curve=parse_curve("6, 4, 1"))(9.0)
    assert torch.equal(both(course, level(1)), both(CFG(4.0), level(1)))
    assert course.asks(level(2)) == (POSITIVE,)
    early = GuidanceSettings(part=PartOfSteps(0.0, 0.4))(5.0)
    assert [len(early.asks(level(index))) for index in range(10)] == [2] * 4 + [1] * 6


def test_settings_that_are_off_are_plain_guidance():
    for off in (GuidanceSettings(), GuidanceSettings(skipped=SkippedLayers(BLOCKS, 0.0))):
        assert off(3.0) == CFG(3.0)
    assert GuidanceSettings(before=GuidanceSettings("tcfg"))(2.0) == TangentialDamping(2.0)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: GuidanceSettings("cfg++"),
        lambda: GuidanceSettings("apg")(101.0),
        lambda: CfgZeroStar(2.0, -1),
        lambda: AdaptiveProjected(2.0, longest=-1.0),
        lambda: StagedContext(4.0, -1.0, 4.5),
        lambda: StagedContext(4.0, 1.25, math.inf),
        lambda: PartOfSteps(0.5, 0.5),
        lambda: PartOfSteps(0.0, 1.5),
        lambda: check_blocks(frozenset({1, 30}), 30),
        lambda: check_blocks(frozenset(range(2)), 2),
    ],
)
def test_what_cannot_work_is_refused(wrong):
    with pytest.raises(InvalidInputError):
        wrong()


@pytest.mark.parametrize("numbers", [(0.5, 0.25, 2.5), (11.0, 2.0, 2.5), (11.0, 0.25, 0.5), (math.nan, 0.25, 2.5)])
def test_attention_guidance_with_numbers_out_of_bounds_is_refused(numbers):
    with pytest.raises(InvalidInputError, match="a scale of 1"):
        AvoidedText(*numbers)


def test_momentum_is_that_of_diffusers_over_the_steps_of_a_run():
    ours, memory = AdaptiveProjected(5.0, 0.3, 12.0, momentum=-0.6), {}
    theirs = AdaptiveProjectedGuidance(
        5.0,
        adaptive_projected_guidance_momentum=-0.6,
        eta=0.3,
        adaptive_projected_guidance_rescale=12.0,
        adaptive_projected_guidance_norm_dim=(-1, -2, -3, -4),
    )
    theirs.momentum_buffer = MomentumBuffer(-0.6)
    for step in range(4):
        answers = random(20 + step), random(30 + step)
        expected = told(theirs, step).forward(*answers).pred
        assert furthest(ours.velocity(answers, level(step), LATENT, memory), expected) < 1e-6
    with pytest.raises(InvalidInputError, match="momentum of apg must be above -1"):
        AdaptiveProjected(5.0, momentum=1.0)


def test_momentum_0_remembers_nothing():
    memory = {}
    AdaptiveProjected(5.0).velocity((POSITIVE_ANSWER, NEGATIVE_ANSWER), level(0), LATENT, memory)
    assert not memory


def test_low_pass_guidance_blurs_what_the_prompts_differ_in():
    ours = LowPass(CFG(5.0), BlurredFrames(0.4), PartOfSteps(0.0, 0.2))
    assert [len(ours.asks(level(index))) for index in range(10)] == [3, 3] + [2] * 8
    positive, negative, sharp = ours.asks(level(1))
    assert positive.perturbations == negative.perturbations == (BlurredFrames(0.4),) and sharp == NEGATIVE
    expected = WEAK_ANSWER + 5.0 * (POSITIVE_ANSWER - NEGATIVE_ANSWER)
    found = ours.velocity((POSITIVE_ANSWER, NEGATIVE_ANSWER, WEAK_ANSWER), level(1), LATENT, {})
    assert furthest(found, expected) < 2e-6
    assert len(LowPass(CFG(1.0), BlurredFrames(0.4), PartOfSteps()).asks(level(0))) == 1
    skipping = SkipLayers(ours, BLOCKS, 2.0)
    assert len(skipping.asks(level(0))) == 4


def triangle(source: int, target: int) -> torch.Tensor:
    """[target, source], float64: linear resampling; where it makes smaller, the triangle is as much wider."""
    scale = source / target
    width = max(scale, 1.0)
    centres = (torch.arange(target, dtype=torch.float64)[:, None] + 0.5) * scale
    weights = (1.0 - (torch.arange(source, dtype=torch.float64) + 0.5 - centres).abs() / width).clamp(min=0.0)
    return weights / weights.sum(1, keepdim=True)


def test_frames_are_blurred_one_by_one_along_rows_and_columns():
    channels = random(7)
    expected = channels.double()
    for dim, size in ((3, 6), (4, 8)):
        small = round(0.4 * size)
        matrix = triangle(small, size) @ triangle(size, small)
        expected = torch.tensordot(expected, matrix, dims=([dim], [1])).movedim(-1, dim)
    assert furthest(blurred(channels, 0.4), expected) < 2e-6


def test_parts_are_named_from_the_outside_in():
    course = GuidanceSettings(part=PartOfSteps(0.0, 0.4), skipped=SkippedLayers(BLOCKS))(5.0)
    assert [what for what, _ in parts_of(LowPass(course, BlurredFrames(0.4), PartOfSteps(0.0, 0.2)))] == [
        "The low-pass of given frames", "Skip-layer guidance", "Guidance by the negative prompt",
    ]  # fmt: skip


STAGES = {NOTHING_SHOWN: random(11), SOURCE_SHOWN: random(12), NEGATIVE: NEGATIVE_ANSWER, POSITIVE: POSITIVE_ANSWER}


@pytest.mark.parametrize(
    ("scales", "asked"),
    [
        ((4.0, 1.25, 4.5), {NOTHING_SHOWN, SOURCE_SHOWN, NEGATIVE, POSITIVE}),
        ((4.5, 1.25, 4.5), {NOTHING_SHOWN, SOURCE_SHOWN, POSITIVE}),
        ((4.0, 1.25, 1.25), {NOTHING_SHOWN, NEGATIVE, POSITIVE}),
        ((4.0, 1.0, 4.5), {SOURCE_SHOWN, NEGATIVE, POSITIVE}),
        ((4.0, 1.0, 1.0), {NEGATIVE, POSITIVE}),
    ],
)
def test_guidance_in_stages_is_that_of_bernini(scales, asked):
    """The sum of differences, as its authors write it; a stage that counts nothing is not asked."""
    words, video, references = scales
    ours = StagedContext(words, video, references)
    none, source, both, all_of_it = (STAGES[ask] for ask in (NOTHING_SHOWN, SOURCE_SHOWN, NEGATIVE, POSITIVE))
    expected = none + video * (source - none) + references * (both - source) + words * (all_of_it - both)
    asks = ours.asks(level(3))
    assert set(asks) == asked and len(asks) == len(asked)
    found = ours.velocity([STAGES[ask] for ask in asks], level(3), LATENT, {})
    assert furthest(found, expected) < 1e-6


def test_stages_of_one_are_plain_guidance_to_the_bit():
    for scale in (1.0, 4.0):
        settings = GuidanceSettings("staged")(scale)
        asks = settings.asks(level(0))
        assert asks == CFG(scale).asks(level(0))
        answers = [STAGES[ask] for ask in asks]
        plain = CFG(scale).velocity(answers, level(0), LATENT, {})
        assert torch.equal(settings.velocity(answers, level(0), LATENT, {}), plain)
    assert GuidanceSettings("staged", video=2.0, references=3.0)(1.0).asks(level(0)) == (POSITIVE,)


def test_a_stage_shows_less_of_the_clips():
    source, picture = (ContextClip(torch.zeros(1, 16, 1, 2, 2), number, number == 1) for number in (1, 2))
    inputs = DitInputs(LATENT, torch.zeros(2), torch.zeros(2, 4, 8), in_context=(source, picture))
    shown = {ask: ask.inputs(inputs, lambda _: torch.zeros(1)).in_context for ask in STAGES}
    assert shown[NEGATIVE] == shown[POSITIVE] == (source, picture)
    assert shown[SOURCE_SHOWN] == (source,) and shown[NOTHING_SHOWN] == ()


@pytest.mark.parametrize(
    ("words", "pictures", "asked"),
    [
        (7.5, 5.0, {POSITIVE, NEGATIVE, NOTHING_SHOWN}),
        (5.0, 5.0, {POSITIVE, NOTHING_SHOWN}),
        (1.0, 5.0, {POSITIVE, NEGATIVE, NOTHING_SHOWN}),
        (4.0, 0.0, {POSITIVE, NEGATIVE, NOTHING_SHOWN}),
    ],
)
def test_subjects_count_as_comfyuis_dual_cfg_guider_weighs_them(words, pictures, asked):
    """cfg_cond2_negative is that of the pictures there, cfg_conds that of the words."""
    ours = ShownSubjects(words, pictures)
    blank, shown, positive = (STAGES[ask] for ask in (NOTHING_SHOWN, NEGATIVE, POSITIVE))
    expected = blank + (shown - blank) * pictures + (positive - shown) * words
    asks = ours.asks(level(3))
    assert set(asks) == asked and len(asks) == len(asked)
    assert furthest(ours.velocity([STAGES[ask] for ask in asks], level(3), LATENT, {}), expected) < 1e-6


def test_pictures_of_one_are_plain_guidance_to_the_bit():
    for scale in (1.0, 4.0):
        settings = GuidanceSettings("phantom", references=1.0)(scale)
        asks = settings.asks(level(0))
        assert asks == CFG(scale).asks(level(0))
        answers = [STAGES[ask] for ask in asks]
        plain = CFG(scale).velocity(answers, level(0), LATENT, {})
        assert torch.equal(settings.velocity(answers, level(0), LATENT, {}), plain)
    with pytest.raises(InvalidInputError, match="scale of the pictures must be from 0 to 100, got -1. Usual is 5"):
        GuidanceSettings("phantom", references=-1.0)


def test_pictures_behind_the_video_become_blank_and_are_not_left_out():
    pictures = tuple(SubjectPicture(torch.ones(1, 16, 1, 2, 2), number) for number in (0, 1))
    inputs = DitInputs(LATENT, torch.zeros(2), torch.zeros(2, 4, 8), in_context=pictures)
    shown = {ask: ask.inputs(inputs, lambda _: torch.zeros(1)).in_context for ask in STAGES}
    assert shown[NEGATIVE] == shown[POSITIVE] == pictures
    for ask in (SOURCE_SHOWN, NOTHING_SHOWN):
        assert [clip.behind for clip in shown[ask]] == [0, 1] and not any(clip.latent.any() for clip in shown[ask])
