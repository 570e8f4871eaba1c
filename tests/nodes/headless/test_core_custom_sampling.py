"""ComfyUI's nodes for custom runs on the command line: noise, sampler, noise levels and guider of their own."""

from __future__ import annotations

import pytest
import torch
from wan_director.common.errors import InvalidInputError
from wan_director.nodes.headless.core_nodes import CORE_NODES
from wan_director.nodes.headless.core_nodes.sampling import SCHEDULE_OF, SOLVER_OF
from wan_director.nodes.sockets.native_model import NATIVE_SHIFT
from wan_director.sampling.schedule import make_schedule

from ..conftest import call, load
from .conftest import core, unet

pytestmark = pytest.mark.usefixtures("inference")


def blank() -> dict:
    return {"samples": torch.zeros(1, 16, 3, 6, 8)}


def levels(scheduler: str = "simple", steps: int = 4, denoise: float = 1.0, model=None) -> torch.Tensor:
    return core("BasicScheduler", model=model or unet(), scheduler=scheduler, steps=steps, denoise=denoise)


def advanced(prompts, sigmas, latent=None, sampler: str = "euler", noise=None, guider=None) -> list[dict]:
    return core(
        "SamplerCustomAdvanced",
        noise=noise or core("RandomNoise", noise_seed=7),
        guider=guider or core("CFGGuider", model=unet(), cfg=3.0, **prompts),
        sampler=core("KSamplerSelect", sampler_name=sampler),
        sigmas=sigmas,
        latent_image=latent or blank(),
    )


def custom(prompts, sigmas, **changes) -> list[dict]:
    settings = {"add_noise": True, "noise_seed": 7, "cfg": 3.0, "latent_image": blank()}
    sampler = core("KSamplerSelect", sampler_name=changes.pop("sampler", "euler"))
    return core("SamplerCustom", model=unet(), sampler=sampler, sigmas=sigmas, **prompts, **settings | changes)


def wan_sampler(prompts, sigmas, solver: str, cfg: float = 3.0) -> torch.Tensor:
    settings = {"seed": 7, "steps": 4, "shift": NATIVE_SHIFT, "schedule": "simple", "denoise": 1.0, "cfg": cfg}
    model = load("t2v.safetensors")
    return call("Sampler", model=model, latent=blank(), sigmas=sigmas, solver=solver, **prompts, **settings)["samples"]


@pytest.mark.parametrize("sampler", SOLVER_OF)
def test_both_custom_samplers_are_the_wan_sampler_to_the_bit(sampler, prompts):
    sigmas = levels()
    expected = wan_sampler(prompts, sigmas, SOLVER_OF[sampler])
    for made in (advanced(prompts, sigmas, sampler=sampler), custom(prompts, sigmas, sampler=sampler)):
        assert torch.equal(made[0]["samples"], expected)


@pytest.mark.parametrize("scheduler", SCHEDULE_OF)
def test_the_levels_are_those_of_ksampler(scheduler, prompts):
    sigmas = levels(scheduler)
    settings = {"seed": 7, "steps": 4, "cfg": 3.0, "sampler_name": "euler", "denoise": 1.0, "latent_image": blank()}
    whole = core("KSampler", model=unet(), scheduler=scheduler, **prompts, **settings)["samples"]
    made = advanced(prompts, sigmas)[0]["samples"]
    assert sigmas.dtype == torch.float32
    assert (made - whole).abs().max() < 1e-5 * whole.abs().max()  # sigmas are rounded to float32 on the wire


def test_denoise_takes_the_end_of_a_longer_schedule():
    assert torch.equal(levels(steps=3, denoise=0.5), levels(steps=6)[-4:])
    assert len(levels(denoise=0.0)) == 0


def test_levels_of_a_denoise_of_0_leave_the_latent_as_it_is(prompts):
    latent = {"samples": torch.randn(1, 16, 3, 6, 8, generator=torch.Generator().manual_seed(5))}
    for made in advanced(prompts, levels(denoise=0.0), latent):
        assert torch.allclose(made["samples"], latent["samples"], atol=1e-5)


def test_the_shift_of_the_model_is_in_the_levels():
    model = core("ModelSamplingSD3", model=unet(), shift=3.0)
    assert torch.equal(levels(model=model), make_schedule("simple", 4, 3.0).sigmas.float())
    assert not torch.equal(levels(model=model), levels())


def test_two_parts_of_the_levels_make_one_run(prompts):
    sigmas = levels("beta", 6)
    whole = advanced(prompts, sigmas)[0]["samples"]
    high, low = core("SplitSigmas", sigmas=sigmas, step=2)
    first = advanced(prompts, high)[0]
    both = advanced(prompts, low, first, noise=core("DisableNoise"))[0]["samples"]
    assert (both - whole).abs().max() < 1e-4 * whole.abs().max()  # raw units and the signal weight between, in float32
    noised = advanced(prompts, low, first)[0]["samples"]
    assert not torch.allclose(noised, whole, atol=1e-2)


def test_the_second_output_is_the_guess_of_the_last_step(prompts):
    """Of euler x -> denoised + sigma * (x - denoised) / level, restated from the result of a run that stops early."""
    sigmas = torch.tensor([1.0, 0.8, 0.5])
    out, denoised = advanced(prompts, sigmas)
    ends_clean, _ = advanced(prompts, torch.tensor([1.0, 0.8, 0.0]))
    assert torch.allclose(denoised["samples"], ends_clean["samples"], atol=1e-4)
    assert not torch.allclose(out["samples"], denoised["samples"], atol=1e-2)
    out, denoised = advanced(prompts, levels())
    assert torch.allclose(out["samples"], denoised["samples"], atol=1e-4)  # the last step goes all the way


def test_a_basic_guider_asks_the_one_prompt_alone(prompts):
    guider = core("BasicGuider", model=unet(), conditioning=prompts["positive"])
    sigmas = levels()
    made = advanced(prompts, sigmas, guider=guider)[0]["samples"]
    assert torch.equal(made, wan_sampler(prompts, sigmas, "euler", cfg=1.0))


def test_a_noise_mask_keeps_in_both_outputs(prompts):
    mask = torch.zeros(1, 48, 64)
    mask[:, :, 32:] = 1.0
    encoded = {"samples": torch.randn(1, 16, 3, 6, 8, generator=torch.Generator().manual_seed(5))}
    latent = core("SetLatentNoiseMask", samples=encoded, mask=mask)
    for made in advanced(prompts, levels(denoise=0.7), latent):
        assert torch.allclose(made["samples"][..., :4], encoded["samples"][..., :4], atol=1e-4)
        assert not torch.allclose(made["samples"], encoded["samples"], atol=1e-2)


def test_add_noise_then_a_run_without_is_a_run_with_noise(prompts):
    """AddNoise scales by first minus last; over levels that end at 0 that is what a run begins with."""
    sigmas = levels(denoise=0.6)
    encoded = {"samples": torch.randn(1, 16, 3, 6, 8, generator=torch.Generator().manual_seed(5))}
    noise = core("RandomNoise", noise_seed=7)
    noisy = core("AddNoise", model=unet(), noise=noise, sigmas=sigmas, latent_image=encoded)["samples"]
    sigma, family = float(sigmas[0]), unet().model.spec.family
    drawn = torch.randn(1, 16, 3, 6, 8, generator=torch.Generator().manual_seed(7))
    expected = family.denormalize(sigma * drawn + (1 - sigma) * family.normalize(encoded["samples"]))
    assert torch.allclose(noisy, expected, atol=1e-5)
    unchanged = core("AddNoise", model=unet(), noise=noise, sigmas=torch.zeros(0), latent_image=encoded)
    assert unchanged is encoded


SIGMAS = torch.tensor([1.0, 0.8, 0.5, 0.0])
TABLES = [
    ("SplitSigmasDenoise", {"denoise": 0.67}, [[1.0, 0.8], [0.8, 0.5, 0.0]]),
    ("SplitSigmasDenoise", {"denoise": 0.0}, [[], [0.0]]),
    ("SplitSigmas", {"step": 9}, [[1.0, 0.8, 0.5, 0.0], []]),
    ("FlipSigmas", {}, [[0.0001, 0.5, 0.8, 1.0]]),
    ("SetFirstSigma", {"sigma": 0.9}, [[0.9, 0.8, 0.5, 0.0]]),
    (
        "ExtendIntermediateSigmas",
        {"steps": 2, "start_at_sigma": 0.9, "end_at_sigma": 0.6, "spacing": "linear"},
        [[1.0, 0.8, 0.65, 0.5, 0.0]],
    ),
]


@pytest.mark.parametrize(("name", "values", "expected"), TABLES)
def test_a_table_is_changed_as_it_says(name, values, expected):
    given = SIGMAS.clone()
    results = CORE_NODES[name].execute(sigmas=given, **values).args
    assert [result.tolist() for result in results] == [pytest.approx(each, abs=1e-6) for each in expected]
    assert torch.equal(given, SIGMAS)


def test_levels_are_read_from_a_text():
    assert core("ManualSigmas", sigmas="1, 0.75;.5 end 0").tolist() == [1.0, 0.75, 0.5, 0.0]


def test_a_part_of_the_schedule_is_a_level():
    values = {"model": unet(), "return_actual_sigma": True}
    found = [core("SamplingPercentToSigma", sampling_percent=part, **values) for part in (0.0, 0.5, 1.0)]
    assert found == pytest.approx([1.0, 8 / 9, 8 * 0.001 / 1.007])


REFUSED = [
    ("sigmas are one noise level, 1", lambda prompts: advanced(prompts, core("SplitSigmas", sigmas=SIGMAS, step=0)[0])),
    ("sigmas must fall from step to step", lambda prompts: advanced(prompts, core("FlipSigmas", sigmas=SIGMAS))),
    ("between 1 and 0, got 14.61", lambda prompts: advanced(prompts, karras(14.61))),
    ("sigmas must be a list of noise levels", lambda prompts: advanced(prompts, [1.0, 0.0])),
    ("noise must be the noise of RandomNoise", lambda prompts: advanced(prompts, SIGMAS, noise={"samples": 0})),
    ("guider must be the guider of CFGGuider", lambda prompts: advanced(prompts, SIGMAS, guider=unet())),
    ("rho 0 cannot be spaced", lambda prompts: karras(1.0, rho=0.0)),
    ("from 0.1 down to 1 with rho 7", lambda prompts: karras(0.1, sigma_min=1.0)),
    ("euler_ancestral with eta 0.5 does not run", lambda prompts: core("SamplerEulerAncestral", eta=0.5, s_noise=1.0)),
    (
        "er_sde with solver_type ODE does not run",
        lambda prompts: core("SamplerER_SDE", solver_type="ODE", max_stage=3, eta=1.0, s_noise=1.0),
    ),
]


def karras(sigma_max: float, sigma_min: float = 0.05, rho: float = 7.0) -> torch.Tensor:
    return core("KarrasScheduler", steps=3, sigma_max=sigma_max, sigma_min=sigma_min, rho=rho)


@pytest.mark.parametrize(("sentence", "ask"), REFUSED, ids=[sentence for sentence, _ in REFUSED])
def test_what_cannot_be_run_is_refused_in_a_sentence(sentence, ask, prompts):
    with pytest.raises(InvalidInputError, match=sentence):
        ask(prompts)


def test_a_sampler_or_scheduler_that_does_not_run_here_is_refused_before_anything_loads():
    assert "'dpm_adaptive' does not run" in CORE_NODES["KSamplerSelect"].validate_inputs(sampler_name="dpm_adaptive")
    assert "'other' does not run" in CORE_NODES["BasicScheduler"].validate_inputs(scheduler="other")


def test_samplers_with_usual_settings_are_those_of_the_list():
    one = {"eta": 1.0, "s_noise": 1.0}
    assert core("SamplerEulerAncestral", **one) == core("KSamplerSelect", sampler_name="euler_ancestral")
    assert core("SamplerEulerAncestral", eta=0.0, s_noise=1.0) == core("KSamplerSelect", sampler_name="euler")
    assert core("SamplerDPMPP_2S_Ancestral", **one) == core("KSamplerSelect", sampler_name="dpmpp_2s_ancestral")
    made = core("SamplerER_SDE", solver_type="ER-SDE", max_stage=3, **one)
    assert made == core("KSamplerSelect", sampler_name="er_sde")
