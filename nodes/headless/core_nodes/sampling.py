"""ComfyUI's samplers, as runs of our engine."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from ....common.errors import InvalidInputError
from ....common.log import logger
from ....engine.sampling.settings import SamplerSettings
from ....sampling.validation import MAX_CFG, MAX_SEED, check_shift
from ... import standin as io
from ...api import answer
from ...sockets.latents import STRIDE_KEY, video_samples
from ...sockets.native_model import NativeModel, native_model
from ...sockets.sampling import sampled
from .dynamic_inputs import Model

MOST_STEPS = 10000
SAMPLERS = [
    "euler", "euler_cfg_pp", "euler_ancestral", "euler_ancestral_cfg_pp", "heun", "heunpp2", "exp_heun_2_x0",
    "exp_heun_2_x0_sde", "dpm_2", "dpm_2_ancestral", "lms", "dpm_fast", "dpm_adaptive", "dpmpp_2s_ancestral",
    "dpmpp_2s_ancestral_cfg_pp", "dpmpp_sde", "dpmpp_sde_gpu", "dpmpp_2m", "dpmpp_2m_cfg_pp", "dpmpp_2m_sde",
    "dpmpp_2m_sde_gpu", "dpmpp_2m_sde_heun", "dpmpp_2m_sde_heun_gpu", "dpmpp_3m_sde", "dpmpp_3m_sde_gpu", "ddpm", "lcm",
    "ipndm", "ipndm_v", "deis", "res_multistep", "res_multistep_cfg_pp", "res_multistep_ancestral",
    "res_multistep_ancestral_cfg_pp", "gradient_estimation", "gradient_estimation_cfg_pp", "er_sde", "seeds_2",
    "seeds_3", "sa_solver", "sa_solver_pece", "ddim", "uni_pc", "uni_pc_bh2",
]  # fmt: skip
SCHEDULERS = [
    "simple", "sgm_uniform", "karras", "exponential", "ddim_uniform", "beta", "normal", "linear_quadratic",
    "kl_optimal",
]  # fmt: skip
OTHERWISE_NAMED = {
    "dpmpp_2m": "dpmpp_2m_native", "dpmpp_sde": "dpmpp_sde_native", "dpmpp_2m_sde": "dpmpp_2m_sde_native",
    "dpmpp_sde_gpu": "dpmpp_sde_native", "dpmpp_2m_sde_gpu": "dpmpp_2m_sde_native",
    "dpmpp_2m_sde_heun_gpu": "dpmpp_2m_sde_heun", "dpmpp_3m_sde_gpu": "dpmpp_3m_sde",
}  # fmt: skip
"""Those of `SAMPLERS` whose name in our table is another."""
CFG_PLUS_PLUS = "it steps along what the negative prompt alone gives"
OWN_STEPS = "it makes steps of its own, not those of the scheduler"
LEFT_OUT = {
    **{name: (CFG_PLUS_PLUS, name.removesuffix("_cfg_pp")) for name in SAMPLERS if name.endswith("_cfg_pp")},
    "dpm_fast": (OWN_STEPS, "dpm_2"),
    "dpm_adaptive": (OWN_STEPS, "dpm_2"),
}
"""Those of `SAMPLERS` that do not run here: why, and what comes nearest."""
SOLVER_OF = {name: OTHERWISE_NAMED.get(name, name) for name in SAMPLERS if name not in LEFT_OUT}
"""Those of `SAMPLERS` that run here -> the name in our table."""
SCHEDULE_OF = {name: {"karras": "karras_native"}.get(name, name) for name in SCHEDULERS}
"""`SCHEDULERS` -> the name in our table."""


class ModelSamplingSD3(io.ComfyNode):
    """The shift of a model's schedules."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="ModelSamplingSD3",
            category="model/patch/stable diffusion",
            inputs=[
                Model.Input("model"),
                io.Float.Input(
                    "shift",
                    default=3.0,
                    min=0.0,
                    max=100.0,
                    step=0.01,
                    tooltip="How much time is spent at high noise, where motion and layout arise: 3 to 16.",
                ),
            ],
            outputs=[Model.Output()],
        )

    @classmethod
    def execute(cls, model: NativeModel, shift: float) -> Any:
        check_shift(shift)
        return io.NodeOutput(replace(native_model(model), shift=shift))


class KSampler(io.ComfyNode):
    """A whole run, or with a denoise below 1 the end of one."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="KSampler",
            display_name="KSampler",
            category="model/sampling",
            inputs=[
                Model.Input("model"),
                _seed_input("seed"),
                *_run_inputs(),
                io.Float.Input(
                    "denoise",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="1 makes a new video; below 1 the given latent is changed only that much.",
                ),
            ],
            outputs=[io.Latent.Output()],
        )

    @classmethod
    def validate_inputs(cls, sampler_name: str | None = None, scheduler: str | None = None) -> bool | str:
        return answer(_check_names, sampler_name, scheduler)

    @classmethod
    def execute(
        cls,
        model: NativeModel,
        seed: int,
        steps: int,
        cfg: float,
        sampler_name: str,
        scheduler: str,
        positive: list,
        negative: list,
        latent_image: dict,
        denoise: float,
    ) -> Any:
        solver, schedule = _our_names(sampler_name, scheduler)
        model = native_model(model)
        settings = SamplerSettings(seed, steps, cfg, model.shift, solver, schedule, denoise)
        return io.NodeOutput(sampled(model.model, (positive, negative), _of_the_model(model, latent_image), settings))


class KSamplerAdvanced(io.ComfyNode):
    """Some steps of a run; two of them make one run of two experts."""

    @classmethod
    def define_schema(cls) -> Any:
        steps = {"min": 0, "max": MOST_STEPS, "advanced": True}
        return io.Schema(
            node_id="KSamplerAdvanced",
            display_name="KSampler (Advanced)",
            category="model/sampling",
            inputs=[
                Model.Input("model"),
                io.Combo.Input(
                    "add_noise",
                    options=["enable", "disable"],
                    advanced=True,
                    tooltip="disable goes on from a latent with leftover noise.",
                ),
                _seed_input("noise_seed"),
                *_run_inputs(),
                io.Int.Input("start_at_step", default=0, **steps, tooltip="The first step to make, counted from 0."),
                io.Int.Input("end_at_step", default=MOST_STEPS, **steps, tooltip="The first step not to make."),
                io.Combo.Input(
                    "return_with_leftover_noise",
                    options=["disable", "enable"],
                    advanced=True,
                    tooltip="enable leaves the noise of the last level in the latent, for the next sampler; disable "
                    "takes it all out in the last step.",
                ),
            ],
            outputs=[io.Latent.Output()],
        )

    @classmethod
    def validate_inputs(cls, sampler_name: str | None = None, scheduler: str | None = None) -> bool | str:
        return answer(_check_names, sampler_name, scheduler)

    @classmethod
    def execute(
        cls,
        model: NativeModel,
        add_noise: str,
        noise_seed: int,
        steps: int,
        cfg: float,
        sampler_name: str,
        scheduler: str,
        positive: list,
        negative: list,
        latent_image: dict,
        start_at_step: int,
        end_at_step: int,
        return_with_leftover_noise: str,
    ) -> Any:
        solver, schedule = _our_names(sampler_name, scheduler)
        model = native_model(model)
        settings = SamplerSettings(
            noise_seed,
            steps,
            cfg,
            model.shift,
            solver,
            schedule,
            start_step=start_at_step,
            end_step=end_at_step,
            ends_clean=return_with_leftover_noise == "disable",
        )
        latent, sides = _of_the_model(model, latent_image), (positive, negative)
        return io.NodeOutput(sampled(model.model, sides, latent, settings, adds_noise=add_noise == "enable"))


def _seed_input(name: str) -> Any:
    return io.Int.Input(
        name,
        default=0,
        min=0,
        max=MAX_SEED,
        control_after_generate=True,
        tooltip="The noise to start from; the same seed and settings give the same video.",
    )


def _run_inputs() -> list[Any]:
    """What both samplers take behind the seed."""
    return [
        io.Int.Input("steps", default=20, min=1, max=MOST_STEPS, tooltip="Of the whole run; at most 1000 here."),
        io.Float.Input(
            "cfg",
            default=8.0,
            min=0.0,
            max=MAX_CFG,
            step=0.1,
            round=0.01,
            tooltip="How strongly the prompt counts; at 1 the negative prompt is off.",
        ),
        io.Combo.Input(
            "sampler_name", options=SAMPLERS, tooltip=f"How a step is computed; all but {', '.join(LEFT_OUT)}."
        ),
        io.Combo.Input("scheduler", options=SCHEDULERS, tooltip="Where the steps lie between noise and video."),
        io.Conditioning.Input("positive", tooltip="What the video should show."),
        io.Conditioning.Input("negative", tooltip="What it should not show; not used at cfg 1."),
        io.Latent.Input("latent_image", tooltip="Size and length of the video, or a video to change."),
    ]


def _check_names(sampler: str | None, scheduler: str | None) -> None:
    """Refuses a sampler or a scheduler that does not run here; None stands for one that is not known yet."""
    if sampler in LEFT_OUT:
        reason, nearest = LEFT_OUT[sampler]
        raise InvalidInputError(
            f"The sampler '{sampler}' does not run on the command line: {reason}. Choose '{nearest}', which comes "
            "nearest, or run this workflow in ComfyUI."
        )
    for kind, name, known in (("sampler", sampler, SOLVER_OF), ("scheduler", scheduler, SCHEDULE_OF)):
        if name is not None and name not in known:
            raise InvalidInputError(
                f"The {kind} '{name}' does not run on the command line. Choose one of: {', '.join(known)}; or run this "
                "workflow in ComfyUI."
            )


def _our_names(sampler: str, scheduler: str) -> tuple[str, str]:
    _check_names(sampler, scheduler)
    if sampler.endswith("_gpu"):
        logger.warning(
            "%s draws its noise on the CPU here, and in ComfyUI on the GPU: there the same seed gives another video.",
            sampler,
        )
    return SOLVER_OF[sampler], SCHEDULE_OF[scheduler]


def _of_the_model(model: NativeModel, latent: dict[str, Any]) -> dict[str, Any]:
    """A LATENT as it is, or one of zeros brought to the channels and the size of the model's, as there.

    Source: ComfyUI v0.33.0, comfy/sample.py, fix_empty_latent_channels.
    """
    samples, family = video_samples(latent), model.model.spec.family
    batch, channels, frames, height, width = samples.shape
    made_for = latent.get(STRIDE_KEY, family.spatial_stride)
    if (channels, made_for) == (family.latent_channels, family.spatial_stride) or samples.any():
        return latent
    sides = (round(side * made_for / family.spatial_stride) for side in (height, width))
    rest = {key: value for key, value in latent.items() if key != STRIDE_KEY}
    return {**rest, "samples": torch.zeros(batch, family.latent_channels, frames, *sides)}
