"""Nodes that say which noise a custom run starts from."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .....sampling.noise import add_noise
from .....sampling.validation import check_seed, check_sigmas
from .... import standin as io
from ....sockets.latents import model_latent
from ....sockets.native_model import NativeModel, native_model
from ....sockets.noise_masks import starting_noise
from ..dynamic_inputs import Model
from .latent import seed_input
from .parts import Noise, StartingNoise, noise_of, sigmas_of


class RandomNoise(io.ComfyNode):
    """The noise of a seed."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="RandomNoise",
            category="model/sampling/noise",
            inputs=[seed_input("noise_seed")],
            outputs=[Noise.Output()],
        )

    @classmethod
    def execute(cls, noise_seed: int) -> Any:
        check_seed(noise_seed)
        return io.NodeOutput(StartingNoise(noise_seed))


class DisableNoise(io.ComfyNode):
    """No noise: a run that goes on from a latent with noise in it."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(node_id="DisableNoise", category="model/sampling/noise", inputs=[], outputs=[Noise.Output()])

    @classmethod
    def execute(cls) -> Any:
        return io.NodeOutput(StartingNoise(is_added=False))


class AddNoise(io.ComfyNode):
    """A latent with as much noise as lies between the first and the last of some levels."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="AddNoise",
            category="model/sampling/noise",
            inputs=[
                Model.Input("model"),
                Noise.Input("noise"),
                io.Sigmas.Input("sigmas", tooltip="One level, or the first and the last of several."),
                io.Latent.Input("latent_image"),
            ],
            outputs=[io.Latent.Output()],
        )

    @classmethod
    def execute(cls, model: NativeModel, noise: StartingNoise, sigmas: Tensor, latent_image: dict[str, Any]) -> Any:
        sigmas, noise, model = sigmas_of(sigmas), noise_of(noise), native_model(model)
        if len(sigmas) == 0:
            return io.NodeOutput(latent_image)
        check_sigmas(sigmas)
        sigma = float(sigmas[0] - sigmas[-1]) if len(sigmas) > 1 else float(sigmas[0])
        clean = model_latent(model.model, latent_image)
        drawn = starting_noise(latent_image, clean, noise.seed) if noise.is_added else torch.zeros_like(clean)
        noisy = model.model.spec.family.denormalize(add_noise(clean, drawn, sigma))
        return io.NodeOutput({**latent_image, "samples": noisy})
