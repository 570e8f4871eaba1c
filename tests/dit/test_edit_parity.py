"""An edit by words against FlowEdit written anew over diffusers' WanTransformer3DModel, with equal weights."""

from __future__ import annotations

import pytest
import torch
from wan_director.dit.config import DiTConfig
from wan_director.dit.inputs import Conditioning
from wan_director.sampling.denoiser import Denoiser
from wan_director.sampling.editing import EditedClip, NegativeAlone, begin_edit, disagreement, edit, mask_of
from wan_director.sampling.guidance import CFG
from wan_director.sampling.noise import step_noise
from wan_director.sampling.schedule import make_schedule

CONFIG = DiTConfig(dim=64, ffn_dim=96, heads=2, layers=2, text_dim=48, text_tokens=512)
SEED, STEPS, LAST, SHIFT = 5, 8, 5, 5.0
STRONG, WEAK = 6.0, 1.5
LIMIT = 1e-5
"""Relative to the largest value: two implementations of the transformer, each rounding in its own order."""


@pytest.fixture
def case(make_pair):
    ours, theirs = make_pair(CONFIG)
    generator = torch.Generator().manual_seed(2)
    clip = torch.randn(2, 16, 3, 8, 12, generator=generator)
    target, source, negative = (torch.randn(1, 512, 48, generator=generator) for _ in range(3))
    return ours, theirs, clip, target, source, negative


def asking(theirs, clip, text, negative, scale):
    """The guided velocity of the reference; scale None: of the text alone."""

    def ask(latent, sigma, words):
        timestep = torch.full((len(clip),), 1000.0 * sigma)
        return theirs(latent, timestep, words.expand(len(clip), -1, -1), return_dict=False)[0]

    def velocity(latent, sigma):
        if scale is None:
            return ask(latent, sigma, text)
        without = ask(latent, sigma, negative)
        return without + scale * (ask(latent, sigma, text) - without)

    return velocity


def noises(clip):
    """What generators of the clips give, one after the other: the first clip's is of the seed after the run's."""
    generators = [torch.Generator().set_state(state) for state in step_noise(SEED, len(clip)).generators]
    assert generators[0].initial_seed() == SEED + 1
    while True:
        yield torch.stack([torch.randn(clip.shape[1:], generator=generator) for generator in generators])


def sigmas():
    """The last steps of an evenly spaced table of the training's sigmas, shifted."""
    even = torch.arange(1000, 0, -1, dtype=torch.float64) / 1000
    shifted = SHIFT * even / (1 + (SHIFT - 1) * even)
    chosen = [float(shifted[int(step * 1000 / STEPS)]) for step in range(STEPS)]
    return [*chosen, 0.0][STEPS - LAST :]


def flow_edit(clip, of_target, of_source):
    """Algorithm 1 of the paper, with one noise a step."""
    edited, noise, times = clip.clone(), noises(clip), sigmas()
    for now, then in zip(times, times[1:]):
        drawn = next(noise)
        noisy_source = (1 - now) * clip + now * drawn
        noisy_target = edited + noisy_source - clip
        edited = edited + (then - now) * (of_target(noisy_target, now) - of_source(noisy_source, now))
    return edited


def ours_of(case, has_source=True):
    ours, _, _, target, source, negative = case
    shown = Denoiser(ours, Conditioning(target), Conditioning(negative), CFG(STRONG))
    guidance = CFG(WEAK) if has_source else NegativeAlone()
    return shown.start, Denoiser(ours, Conditioning(source), Conditioning(negative), guidance, name="source").start


@pytest.mark.parametrize("has_source", [True, False])
def test_an_edit_equals_flow_edit_over_diffusers(case, has_source):
    _, theirs, clip, target, source, negative = case
    shown = (source, WEAK) if has_source else (negative, None)
    expected = flow_edit(
        clip, asking(theirs, clip, target, negative, STRONG), asking(theirs, clip, shown[0], negative, shown[1])
    )
    schedule = make_schedule("simple", STEPS, SHIFT).last_steps(LAST)
    everywhere = EditedClip(clip, torch.ones(1, 1, 1, 1, 1))
    *_, state = edit(*ours_of(case, has_source), schedule, begin_edit(schedule, clip, seed=SEED), everywhere)
    assert (expected - clip).abs().max() > 1000 * LIMIT * clip.abs().max()
    assert (state.latent - expected).abs().max() <= LIMIT * expected.abs().max()


def test_the_mask_of_words_equals_its_restatement_over_diffusers(case):
    _, theirs, clip, target, source, negative = case
    of_target, of_source = asking(theirs, clip, target, negative, STRONG), asking(theirs, clip, source, negative, WEAK)
    drawn = noises(clip)
    differences, largest = [], 0.0
    for _ in range(3):
        noisy = 0.85 * next(drawn) + 0.15 * clip
        velocity = of_target(noisy, 0.85)
        differences.append((velocity - of_source(noisy, 0.85)).abs().mean(dim=1))
        largest = max(largest, float(velocity.abs().max()))
    mean = sum(differences) / 3
    expected = torch.zeros_like(mean)
    for video, place in zip(expected, mean):
        ordered = place.flatten().sort().values
        rank = 0.98 * (len(ordered) - 1)
        low = ordered[int(rank)]
        limit = 0.3 * (low + (rank - int(rank)) * (ordered[int(rank) + 1] - low))
        for frame, row, column in (place > limit).nonzero().tolist():
            video[frame, max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2] = 1
    level = make_schedule("simple", STEPS, SHIFT).levels[2].moved(0.85)
    everywhere = EditedClip(clip, torch.ones(1))
    found = list(disagreement(*ours_of(case), everywhere, level, step_noise(SEED, len(clip))))
    for ours, restated in zip(found, differences):
        assert (ours[:, 0] - restated).abs().max() <= LIMIT * largest
    assert torch.equal(mask_of([each[:, None] for each in differences])[:, 0], expected)


def test_a_mask_of_words_holds_what_stands_out_and_one_pixel_around():
    disagreements = torch.full((1, 1, 2, 20, 20), 0.1)
    disagreements[0, 0, 1, 5:9, 6:15] = 1.0
    found = mask_of([disagreements, disagreements])
    expected = torch.zeros(1, 1, 2, 20, 20)
    expected[0, 0, 1, 4:10, 5:16] = 1.0
    assert torch.equal(found, expected)
    assert not mask_of([torch.zeros(1, 1, 2, 4, 4)]).any()
