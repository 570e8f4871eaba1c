"""What ComfyUI's Wan models call: our transformer under the names, and with the call, of theirs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import comfy.patcher_extension  # pyright: ignore[reportMissingImports]
import torch
from torch import Tensor, nn

from ....common.errors import InvalidInputError
from ....common.log import logger
from ....common.records import record
from ....dit.branches.clip import ClipBranch, ClipInput
from ....dit.branches.vace import VaceBranch, VaceInput
from ....dit.config import PATCH
from ....dit.inputs import DitInputs, Steering
from ....dit.model import WanDiT

_READ = {"control", "denoise_mask", "reference_latent", "context_latents", "vace_context", "vace_strength"}


@record(eq=False)
class NativePass:
    """One call of a native model.

    Attributes:
        inputs: for our transformer.
        channels: [B, C, T, h, w], latent and conditioning as they came.
        options: the `transformer_options`.
        sees_text_as_picture: whether the attention to pictures looks at the prompt, see `NativeTransformer`.
    """

    inputs: DitInputs
    channels: Tensor
    options: dict[str, Any]
    sees_text_as_picture: bool = False


class AnsweringRun(Protocol):
    """A run that asks the transformer."""

    def velocity(self, asked: NativePass) -> Tensor:
        """The velocity [B, C, T, h, w]."""
        ...


class NativeTransformer(nn.Module):
    """Our transformer as the `diffusion_model` of a native model: it has the same layers, by the official names.

    As in ComfyUI's, the attention to pictures of a model that has it looks at the prompt where no picture is given
    (its `WanI2VCrossAttention` cuts the context at None).

    Attributes:
        at_work: the run that asks; None outside of one.

    Source: ComfyUI v0.33.0, comfy/ldm/wan/model.py, WanModel and VaceWanModel.
    """

    at_work: AnsweringRun | None = None

    def __init__(self, model: WanDiT) -> None:
        super().__init__()
        for name, child in model.named_children():
            self.add_module(name, child)
        config = self.config = model.config
        self.dtype = model.dtype
        self.patch_size = PATCH
        self.dim, self.ffn_dim, self.num_heads, self.num_layers = (
            config.dim,
            config.ffn_dim,
            config.heads,
            config.layers,
        )
        self.in_dim, self.out_dim, self.text_dim = config.in_channels, config.out_channels, config.text_dim
        self.text_len, self.freq_dim, self.eps = config.text_tokens, config.freq_dim, config.eps
        self.model_type = "i2v" if config.branch(ClipBranch) else "t2v"
        self._said: set[str] = set()

    def forward(
        self,
        x: Tensor,
        timestep: Tensor,
        context: Tensor,
        clip_fea: Tensor | None = None,
        time_dim_concat: Tensor | None = None,
        transformer_options: dict[str, Any] | None = None,
        **conditioning: Any,
    ) -> Tensor:
        """The velocity [B, C, T, h, w] of x [B, in_channels, T, h, w]; see `WanModel.forward` of ComfyUI."""
        options = {} if transformer_options is None else transformer_options
        wrappers = comfy.patcher_extension.get_all_wrappers(comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL, options)
        executor = comfy.patcher_extension.WrapperExecutor.new_class_executor(self._forward, self, wrappers)
        return executor.execute(x, timestep, context, clip_fea, time_dim_concat, options, **conditioning)

    def _forward(
        self,
        x: Tensor,
        timestep: Tensor,
        context: Tensor,
        clip_fea: Tensor | None = None,
        time_dim_concat: Tensor | None = None,
        transformer_options: dict[str, Any] | None = None,
        **conditioning: Any,
    ) -> Tensor:
        self._refuse_unread(conditioning)
        if self.at_work is None:
            raise InvalidInputError(
                "The model of Wan To Native Model was asked outside of a sampler's run, where its weights are not in "
                "place. Use it with KSampler or another node that samples."
            )
        frames = x.shape[2]
        latent, image = x[:, : self.out_dim], x[:, self.out_dim :]
        if time_dim_concat is not None:
            latent = torch.cat([latent, self._appended(time_dim_concat, latent)], dim=2)
        steering = self._steering(clip_fea, conditioning)
        asked = NativePass(
            DitInputs(latent, timestep, context, image if image.shape[1] else None, steering),
            x,
            {} if transformer_options is None else transformer_options,
            self.config.branch(ClipBranch) is not None and clip_fea is None,
        )
        return self.at_work.velocity(asked)[:, :, :frames]

    def _appended(self, pictures: Tensor, latent: Tensor) -> Tensor:
        """Latents of reference pictures that stand behind the video (`time_dim_concat`)."""
        if self.in_dim != self.out_dim:
            raise InvalidInputError(
                "The conditioning brings reference pictures that stand behind the video (WanPhantomSubjectToVideo), "
                f"but this model takes {self.in_dim} channels and not {self.out_dim}. Use a text-to-video model."
            )
        return pictures.to(latent).expand(len(latent), -1, -1, -1, -1)

    def _steering(self, clip_fea: Tensor | None, conditioning: Mapping[str, Any]) -> tuple[Steering, ...]:
        steering: list[Steering] = []
        clip = self.config.branch(ClipBranch)
        if clip_fea is not None and clip is not None:
            features = clip_fea if clip.positions is None else clip_fea[:, : clip.positions]
            steering.append(ClipInput(features))
        elif clip_fea is not None:
            self._say("clip_vision_output: this model has no attention to pictures, and ComfyUI's own does without it.")
        control, strengths = conditioning.get("vace_context"), conditioning.get("vace_strength")
        if control is not None and self.config.branch(VaceBranch) is not None:
            strengths = [1.0] * control.shape[1] if strengths is None else strengths
            steering += [VaceInput(control[:, index], float(strengths[index])) for index in range(control.shape[1])]
        return tuple(steering)

    def _refuse_unread(self, conditioning: Mapping[str, Any]) -> None:
        given = {name for name, value in conditioning.items() if value is not None}
        if "reference_latent" in given:
            self._say("reference_latents: this model has no layer for one, and ComfyUI's own does without it.")
        refused = sorted(given - _READ | given & {"control", "context_latents"})
        if refused:
            raise InvalidInputError(
                f"The conditioning brings '{refused[0]}', which the model of Wan To Native Model cannot use. Take the "
                "node that adds it out, or load the model with Load Diffusion Model."
            )

    def _say(self, what: str) -> None:
        if what not in self._said:
            self._said.add(what)
            logger.warning("Not used: %s", what)
