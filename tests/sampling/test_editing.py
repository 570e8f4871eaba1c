"""Edits by words: what stays to the bit, and that an edit goes on from any step."""

from __future__ import annotations

import pytest
import torch
from wan_director.common.errors import InvalidInputError, NumericalError
from wan_director.dit.inputs import Conditioning
from wan_director.sampling.denoiser import Denoiser
from wan_director.sampling.editing import EditedClip, begin_edit, edit
from wan_director.sampling.guidance import CFG
from wan_director.sampling.schedule import make_schedule
from wan_director.sampling.state import state_of

from .conftest import WholeModel

CLIP = torch.randn(2, 16, 3, 4, 6, generator=torch.Generator().manual_seed(0))
SCHEDULE = make_schedule("simple", 6, 5.0).last_steps(4)


def velocity(inputs):
    """Something of everything that a model sees."""
    text = inputs.text.mean(dim=(1, 2)).view(-1, 1, 1, 1, 1)
    return (inputs.latent * 0.7 + text).tanh() + inputs.timestep.view(-1, 1, 1, 1, 1) / 1000 * text


def asking(text: float, scale: float, function=velocity, name: str = ""):
    positive, negative = Conditioning(torch.full((1, 4, 4), text)), Conditioning(torch.full((1, 4, 4), -0.2))
    return Denoiser(WholeModel(function), positive, negative, CFG(scale), name=name).start


def edited(target, source, mask=None, schedule=SCHEDULE, seed=1, state=None):
    mask = torch.ones(1, 1, 3, 4, 6) if mask is None else mask
    state = begin_edit(schedule, CLIP, seed=seed) if state is None else state
    return list(edit(target, source, schedule, state, EditedClip(CLIP, mask)))


def bits(latent: torch.Tensor) -> torch.Tensor:
    """Also the sign of a zero counts."""
    return latent.contiguous().view(torch.int32)


def test_equal_words_leave_the_clip_to_the_bit():
    for state in edited(asking(0.5, 4.0), asking(0.5, 4.0)):
        assert torch.equal(bits(state.latent), bits(CLIP))


def test_other_words_or_another_scale_change_it():
    assert not torch.equal(edited(asking(0.5, 4.0), asking(0.3, 4.0))[-1].latent, CLIP)
    assert not torch.equal(edited(asking(0.5, 4.0), asking(0.5, 1.5))[-1].latent, CLIP)


def test_outside_the_mask_each_step_leaves_the_clip_to_the_bit():
    mask = (torch.rand(1, 1, 3, 4, 6, generator=torch.Generator().manual_seed(1)) > 0.5).float()
    states = edited(asking(0.5, 4.0), asking(0.3, 1.5), mask)
    everywhere = edited(asking(0.5, 4.0), asking(0.3, 1.5))
    outside = (mask == 0).expand_as(CLIP)
    for state in states:
        assert torch.equal(bits(state.latent)[outside], bits(CLIP)[outside])
        assert torch.equal(bits(state.denoised)[outside], bits(CLIP)[outside])
    assert (states[-1].latent != CLIP)[~outside].float().mean() > 0.99
    assert torch.equal(states[0].latent[~outside], everywhere[0].latent[~outside])


def test_a_mask_of_zeros_and_no_steps_leave_the_clip_to_the_bit():
    for state in edited(asking(0.5, 4.0), asking(0.3, 1.5), torch.zeros(1, 1, 3, 4, 6)):
        assert torch.equal(bits(state.latent), bits(CLIP))
    none = SCHEDULE.last_steps(0)
    (state,) = edited(asking(0.5, 4.0), asking(0.3, 1.5), schedule=none)
    assert torch.equal(bits(state.latent), bits(CLIP))


def test_half_a_mask_takes_half_of_a_step():
    whole = edited(asking(0.5, 4.0), asking(0.3, 1.5))[0].latent
    half = edited(asking(0.5, 4.0), asking(0.3, 1.5), torch.full((1, 1, 3, 4, 6), 0.5))[0].latent
    torch.testing.assert_close(half - CLIP, (whole - CLIP) / 2, rtol=1e-5, atol=1e-6)


def test_the_seed_says_the_noise_and_each_step_has_its_own():
    seen = []

    def noting(inputs):
        seen.append(inputs.latent)
        return velocity(inputs)

    edited(asking(0.5, 4.0), asking(0.3, 1.0, noting))
    drawn = [(noisy - (1 - level.sigma) * CLIP) / level.sigma for noisy, level in zip(seen, SCHEDULE.levels)]
    generator = torch.Generator().manual_seed(2)
    for noise in drawn:
        first = torch.randn(CLIP[:1].shape, generator=generator)
        torch.testing.assert_close(noise[:1], first, rtol=0, atol=1e-5)
        assert (noise[1:] - noise[:1]).abs().max() > 1


@pytest.mark.parametrize("step", range(5))
def test_an_edit_goes_on_from_a_saved_state_with_the_same_bits(step):
    sides = asking(0.5, 4.0), asking(0.3, 1.5, name="source")
    whole = edited(*sides)
    before = begin_edit(SCHEDULE, CLIP, seed=1) if step == 0 else whole[step - 1]
    rest = edited(*sides, state=state_of(before.tensors()))
    assert len(rest) == 4 - step
    for ours, expected in zip(rest, whole[step:]):
        assert torch.equal(bits(ours.latent), bits(expected.latent))


def test_a_state_of_another_schedule_is_refused():
    begun, shorter = begin_edit(SCHEDULE, CLIP, seed=1), SCHEDULE.last_steps(3)
    with pytest.raises(InvalidInputError, match="Go on with the schedule"):
        edited(asking(0.5, 4.0), asking(0.3, 1.5), schedule=shorter, state=begun)


def test_a_step_that_is_not_finite_stops_the_edit():
    with pytest.raises(NumericalError, match="Step 1 of 4"):
        edited(asking(0.5, 4.0, lambda inputs: inputs.latent * torch.nan), asking(0.3, 1.5))
