"""ComfyUI's samplers, as runs of our engine."""

from __future__ import annotations

from typing import Any

from .....engine.sampling.settings import SamplerSettings
from .....sampling.validation import MAX_CFG
from .... import standin as io
from ....api import answer
from ....sockets.native_model import NativeModel, native_model
from ....sockets.sampling import sampled
from ..dynamic_inputs import Model
from .latent import of_the_model, seed_input, with_followed
from .names import LEFT_OUT, SAMPLERS, SCHEDULERS, check_names, schedule_named, solver_named

MOST_STEPS = 10000


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
                seed_input("seed"),
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
        return answer(check_names, sampler_name, scheduler)

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
        solver, schedule = solver_named(sampler_name), schedule_named(scheduler)
        model = native_model(model)
        settings = SamplerSettings(seed, steps, cfg, model.shift, solver, schedule, denoise)
        latent = of_the_model(model, latent_image)
        made, _ = sampled(model.model, with_followed(model, (positive, negative), latent), latent, settings)
        return io.NodeOutput(made)


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
                seed_input("noise_seed"),
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
        return answer(check_names, sampler_name, scheduler)

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
        solver, schedule = solver_named(sampler_name), schedule_named(scheduler)
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
        latent = of_the_model(model, latent_image)
        sides = with_followed(model, (positive, negative), latent)
        made, _ = sampled(model.model, sides, latent, settings, adds_noise=add_noise == "enable")
        return io.NodeOutput(made)


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
