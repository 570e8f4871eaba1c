"""Custom runs: with noise, sampler, noise levels and guidance from nodes of their own."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from .....common.errors import InvalidInputError
from .....engine.sampling.settings import SamplerSettings
from .... import standin as io
from ....sockets.native_model import NativeModel, native_model
from ....sockets.sampling import sampled
from ..dynamic_inputs import Model
from .guiders import cfg_input
from .latent import of_the_model, seed_input, with_followed
from .parts import (
    GuidedBy,
    Guider,
    NamedSampler,
    Noise,
    Sampler,
    StartingNoise,
    guider_of,
    noise_of,
    sampler_of,
    sigmas_of,
)


class SamplerCustom(io.ComfyNode):
    """A run over given noise levels."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="SamplerCustom",
            category="model/sampling/custom",
            inputs=[
                Model.Input("model"),
                io.Boolean.Input(
                    "add_noise",
                    default=True,
                    advanced=True,
                    tooltip="Off goes on from a latent with leftover noise.",
                ),
                seed_input("noise_seed"),
                cfg_input(),
                io.Conditioning.Input("positive", tooltip="What the video should show."),
                io.Conditioning.Input("negative", tooltip="What it should not show; not used at cfg 1."),
                *_run_inputs(),
            ],
            outputs=_outputs(),
        )

    @classmethod
    def execute(
        cls,
        model: NativeModel,
        add_noise: bool,
        noise_seed: int,
        cfg: float,
        positive: list,
        negative: list,
        sampler: NamedSampler,
        sigmas: Tensor,
        latent_image: dict[str, Any],
    ) -> Any:
        guider = GuidedBy(native_model(model), positive, negative, cfg)
        return io.NodeOutput(*_run(StartingNoise(noise_seed, add_noise), guider, sampler, sigmas, latent_image))


class SamplerCustomAdvanced(io.ComfyNode):
    """A run over given noise levels, all of it from other nodes."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="SamplerCustomAdvanced",
            category="model/sampling/custom",
            inputs=[
                Noise.Input("noise", tooltip="From RandomNoise or DisableNoise."),
                Guider.Input("guider", tooltip="From CFGGuider or BasicGuider."),
                *_run_inputs(),
            ],
            outputs=_outputs(),
        )

    @classmethod
    def execute(
        cls,
        noise: StartingNoise,
        guider: GuidedBy,
        sampler: NamedSampler,
        sigmas: Tensor,
        latent_image: dict[str, Any],
    ) -> Any:
        return io.NodeOutput(*_run(noise_of(noise), guider_of(guider), sampler, sigmas, latent_image))


def _run_inputs() -> list[Any]:
    return [
        Sampler.Input("sampler", tooltip="From KSamplerSelect."),
        io.Sigmas.Input("sigmas", tooltip="The noise levels, such as those of BasicScheduler."),
        io.Latent.Input("latent_image", tooltip="Size and length of the video, or a video to change."),
    ]


def _outputs() -> list[Any]:
    return [
        io.Latent.Output(display_name="output", tooltip="The result, with the noise of the last level."),
        io.Latent.Output(display_name="denoised_output", tooltip="The model's guess of the clean latent."),
    ]


def _run(
    noise: StartingNoise, guider: GuidedBy, sampler: Any, sigmas: Any, latent: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The LATENT of the result, and that of the last guess."""
    named, sigmas = sampler_of(sampler), sigmas_of(sigmas)
    if sigmas.ndim == 1 and len(sigmas) == 1:
        raise InvalidInputError(
            f"The sigmas are one noise level, {float(sigmas[0]):g}, and a step goes from one to another. Give two or "
            "more, or take this sampler out: SplitSigmas may leave it none."
        )
    model = guider.model.in_order(named.order)
    settings = SamplerSettings(noise.seed, cfg=guider.cfg, shift=model.shift, solver=named.solver, sigmas=sigmas)
    latent = of_the_model(model, latent)
    sides = with_followed(model, (guider.positive, guider.negative), latent)
    return sampled(model.model, sides, latent, settings, adds_noise=noise.is_added)
