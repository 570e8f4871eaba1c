"""Schedules against tables made by the official code and by ComfyUI, and what may be asked of them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from wan_director.common.errors import InvalidInputError
from wan_director.dit.presets import PRESETS, expert_boundary
from wan_director.sampling.experts import Handover
from wan_director.sampling.schedule import SCHEDULES, from_sigmas, make_schedule, shift_sigmas
from wan_director.sampling.schedules.beta import beta_quantiles

# Made by the code of ComfyUI v0.3.64 (comfy/samplers.py, comfy/model_sampling.py; float32) and of Wan2.1
# (wan/utils/fm_solvers.py, fm_solvers_unipc.py).
REFERENCES = json.loads((Path(__file__).parent / "fixtures" / "reference_schedules.json").read_text())


def reference_id(reference):
    return f"{reference['schedule']}-{reference['steps']}-shift{reference['shift']:g}-denoise{reference['denoise']:g}"


@pytest.mark.parametrize("reference", REFERENCES, ids=reference_id)
def test_sigmas_equal_the_reference_table(reference):
    ours = make_schedule(reference["schedule"], reference["steps"], reference["shift"], reference["denoise"]).sigmas
    assert ours.dtype == torch.float64 and ours.device.type == "cpu"
    # ComfyUI computes in float32; small sigmas of its `normal` table carry a few roundings.
    torch.testing.assert_close(ours.float(), torch.tensor(reference["sigmas"]), rtol=2e-6, atol=0)


@pytest.mark.parametrize("reference", [r for r in REFERENCES if "timesteps" in r], ids=reference_id)
def test_official_tables_are_reproduced_to_the_bit(reference):
    schedule = make_schedule(reference["schedule"], reference["steps"], reference["shift"])
    assert torch.equal(schedule.sigmas.float(), torch.tensor(reference["sigmas"]))
    assert schedule.timesteps.tolist() == reference["timesteps"]


def test_official_timesteps_of_the_default_run():
    timesteps = make_schedule("official", 50, 5.0).timesteps.tolist()
    assert timesteps[:3] == [999, 995, 991] and timesteps[-2:] == [172, 92]
    assert make_schedule("official_dpm", 50, 5.0).timesteps[0] == 1000


@pytest.mark.parametrize(
    ("boundary", "shift", "counts"),
    [
        (875, 12.0, {4: 3, 8: 6, 20: 13, 40: 26}),
        (875, 5.0, {4: 2, 8: 4, 20: 9}),
        (900, 5.0, {4: 2, 6: 3, 8: 3, 20: 8, 40: 15}),
        (900, 8.0, {4: 2, 8: 4, 20: 10}),
    ],
)
def test_steps_above_the_expert_boundary(boundary, shift, counts):
    handover = Handover(boundary)
    found = {
        steps: [handover.expert(level) for level in make_schedule("official", steps, shift).levels[:-1]].count("high")
        for steps in counts
    }
    assert found == counts


def test_the_boundaries_are_those_of_the_official_configurations():
    assert expert_boundary(PRESETS["t2v-14B"]) == 875 and expert_boundary(PRESETS["i2v-A14B"]) == 900


def test_simple_equals_linear_where_the_steps_divide_the_training_table():
    ours, linear = make_schedule("simple", 20, 5.0), make_schedule("linear", 20, 5.0)
    torch.testing.assert_close(ours.sigmas, linear.sigmas, rtol=1e-12, atol=0)


def test_linear_is_the_official_dpm_table_with_fractional_timesteps():
    ours, official = make_schedule("linear", 30, 5.0), make_schedule("official_dpm", 30, 5.0)
    torch.testing.assert_close(ours.sigmas, official.sigmas, rtol=1e-7, atol=0)
    assert torch.equal(ours.timesteps.trunc(), official.timesteps)
    assert not torch.equal(ours.timesteps, official.timesteps)


def test_normal_equals_the_euler_table_of_diffusers():
    from diffusers import FlowMatchEulerDiscreteScheduler

    scheduler = FlowMatchEulerDiscreteScheduler(shift=5.0)
    scheduler.set_timesteps(20)
    torch.testing.assert_close(make_schedule("normal", 20, 5.0).sigmas.float(), scheduler.sigmas, rtol=1e-6, atol=0)


def test_karras_spaces_the_noise_to_signal_ratio_as_diffusers_does():
    from diffusers import UniPCMultistepScheduler

    scheduler = UniPCMultistepScheduler(use_karras_sigmas=True, use_flow_sigmas=True, prediction_type="flow_prediction")
    ratios = scheduler._convert_to_karras(torch.tensor([999.0, 1 / 999.0], dtype=torch.float64), 20)
    expected = np.append(shift_sigmas(ratios / (1 + ratios), 3.0), 0.0)
    np.testing.assert_allclose(make_schedule("karras", 20, 3.0).sigmas.numpy(), expected, rtol=1e-12)


@settings(max_examples=200)
@given(
    name=st.sampled_from(sorted(SCHEDULES)),
    steps=st.integers(1, 200),
    shift=st.floats(0.3, 30.0),
    denoise=st.floats(0.25, 1.0),
)
def test_every_schedule_falls_from_at_most_one_to_zero(name, steps, shift, denoise):
    schedule = make_schedule(name, steps, shift, denoise)
    assert schedule.sigmas[0] <= 1 and schedule.sigmas[-1] == 0
    assert (schedule.sigmas.diff() < 0).all()
    assert schedule.steps == steps or name in ("beta", "ddim_uniform")
    assert len(schedule.sigmas) == schedule.steps + 1
    assert [level.index for level in schedule.levels] == list(range(schedule.steps + 1))


@settings(max_examples=100)
@given(sigma=st.floats(1e-6, 1 - 1e-6), shift=st.floats(0.1, 100.0))
def test_shift_multiplies_the_noise_to_signal_ratio(sigma, shift):
    shifted = shift_sigmas(np.float64(sigma), shift)
    assert shifted / (1 - shifted) == pytest.approx(shift * sigma / (1 - sigma), rel=1e-6)


def test_denoise_keeps_the_end_of_a_longer_schedule():
    part, whole = make_schedule("simple", 8, 5.0, 0.5), make_schedule("simple", 16, 5.0)
    assert torch.equal(part.sigmas, whole.sigmas[8:]) and torch.equal(part.timesteps, whole.timesteps[8:])


def test_nothing_to_do_is_a_schedule_without_steps():
    schedule = make_schedule("simple", 20, 5.0, denoise=0.0)
    assert schedule.steps == 0 and schedule.sigmas.tolist() == [0.0] and len(schedule.levels) == 1


def test_own_sigmas_are_taken_as_they_are():
    schedule = from_sigmas(torch.tensor([1.0, 0.75, 0.25]))
    assert schedule.sigmas.tolist() == [1.0, 0.75, 0.25] and schedule.timesteps.tolist() == [1000.0, 750.0]


def test_a_float32_table_may_begin_a_rounding_error_above_one():
    native = torch.tensor([1.0, 0.5]) * 0.4 / (1 + (0.4 - 1) * torch.tensor([1.0, 0.5]))  # ComfyUI at shift 0.4
    assert native[0] > 1
    assert from_sigmas(native).sigmas[0] == 1.0


def test_the_empty_table_of_a_native_scheduler_at_denoise_0_has_no_steps():
    assert from_sigmas(torch.FloatTensor([])).steps == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("simpel", 20, 5.0), "There is no schedule 'simpel'. Choose one of: simple, linear, official,"),
        (("simple", -1, 5.0), "Steps must be a whole number from 1 to 1000, got -1"),
        (("simple", 0, 5.0), "Steps must be a whole number from 1 to 1000, got 0. Usual are 20 to 50"),
        (("simple", 20.5, 5.0), "Steps must be a whole number"),
        (("simple", 20, 0.0), "Shift must be above 0"),
        (("simple", 20, float("nan")), "Shift must be above 0"),
        (("simple", 20, 5.0, 1.5), "Denoise must be from 0"),
        (("simple", 20, 5.0, float("nan")), "Denoise must be from 0"),
        (("simple", 50, 5.0, 0.01), "at most 10 steps, or denoise 0.05 or more"),
        (
            ("simple", 1, 5.0, 1e-9),
            "1 step is the end of a schedule of more than a million steps.*Use denoise 0.001 or",
        ),
        (("simple", 1, 5.0, 5e-324), "more than a million steps"),
    ],
)
def test_refusals_name_what_is_wrong(arguments, message):
    with pytest.raises(InvalidInputError, match=message.replace("(", r"\(")):
        make_schedule(*arguments)


@pytest.mark.parametrize(
    ("sigmas", "message"),
    [
        ([14.6, 1.0, 0.0], "between 1 and 0, got 14.6 to 0"),
        ([1.0, float("nan"), 0.0], "between 1 and 0"),
        ([1.0, 0.5, 0.5, 0.0], "number 2 is 0.5 and number 3 is 0.5"),
        ([0.0, 1.0], "must fall from step to step"),
        ([[1.0, 0.0]], r"a list of numbers, got a tensor of shape \[1, 2\]"),
    ],
)
def test_own_sigmas_that_cannot_work_are_refused(sigmas, message):
    with pytest.raises(InvalidInputError, match=message):
        from_sigmas(torch.tensor(sigmas))


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 7, 20, 30, 50, 333, 1000])
def test_beta_has_the_quantiles_of_scipy(steps):
    distribution = pytest.importorskip("scipy.stats").beta(0.6, 0.6)
    parts = 1 - np.linspace(0, 1, steps, endpoint=False)
    np.testing.assert_allclose(beta_quantiles(parts), distribution.ppf(parts), rtol=1e-12, atol=0)
    # A half lies between two training sigmas: which one is taken is the last bit of scipy's answer.
    assert (np.rint(beta_quantiles(parts) * 999) == np.rint(distribution.ppf(parts) * 999)).all()


def test_ddim_uniform_takes_as_many_steps_as_fit():
    schedule = make_schedule("ddim_uniform", 30, 5.0)
    assert schedule.steps == 31 and not schedule.starts_from_noise and schedule.noise_weight == schedule.sigmas[0] < 1
    assert make_schedule("ddim_uniform", 30, 5.0, 0.5).steps == 30


def test_native_divides_by_zero_for_one_step_of_kl_optimal():
    assert make_schedule("kl_optimal", 1, 5.0).sigmas.tolist() == [1.0, 0.0]
