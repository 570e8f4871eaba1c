"""ComfyUI's nodes that change how a model is guided, or where it sees its tokens."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from .....common.errors import InvalidInputError
from .....common.log import logger
from .....dit.rope import TokenPlaces
from .....engine.models import with_policies
from .....engine.sampling.policies import StepPolicies
from .....sampling.guidance import CfgZeroStar, GuidanceSettings, PartOfNoise, SkippedLayers, check_blocks
from .....sampling.prompts import sigma_of_percent
from .... import standin as io
from ....sockets.native_model import NativeModel, native_model


class CFGZeroStar(io.ComfyNode):
    """The negative prompt scaled to what it shares with the positive one."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="CFGZeroStar",
            category="advanced/guidance",
            inputs=[io.Model.Input("model")],
            outputs=[io.Model.Output(display_name="patched_model")],
        )

    @classmethod
    def execute(cls, model: NativeModel) -> Any:
        model = native_model(model)
        settings = _settings(model)
        if settings.skipped.rescale:
            raise InvalidInputError(
                "CFGZeroStar comes after a SkipLayerGuidanceDiT that rescales, and the command line can scale the "
                "negative prompt only before that. Connect CFGZeroStar first, or set rescaling_scale to 0."
            )
        of_denoised = partial(CfgZeroStar, of_denoised=True)
        return io.NodeOutput(_with_guidance(model, replace(settings, before=of_denoised)))


class SkipLayerGuidanceDiT(io.ComfyNode):
    """Away from what the model makes without some of its blocks."""

    @classmethod
    def define_schema(cls) -> Any:
        part = {"min": 0.0, "max": 1.0, "step": 0.001, "advanced": True}
        return io.Schema(
            node_id="SkipLayerGuidanceDiT",
            category="advanced/guidance",
            inputs=[
                io.Model.Input("model"),
                io.String.Input("double_layers", default="7, 8, 9", advanced=True, tooltip="Blocks to leave out."),
                io.String.Input(
                    "single_layers", default="7, 8, 9", advanced=True, tooltip="Blocks that Wan models do not have."
                ),
                io.Float.Input("scale", default=3.0, min=0.0, max=10.0, step=0.1, tooltip="How far away; 0 is off."),
                io.Float.Input("start_percent", default=0.01, **part, tooltip="From this part of the noise on."),
                io.Float.Input("end_percent", default=0.15, **part, tooltip="Up to this part of the noise."),
                io.Float.Input(
                    "rescaling_scale",
                    default=0.0,
                    min=0.0,
                    max=10.0,
                    step=0.01,
                    tooltip="How much of the spread of the result is set back to that of the positive prompt's.",
                ),
            ],
            outputs=[io.Model.Output()],
        )

    @classmethod
    def execute(
        cls,
        model: NativeModel,
        double_layers: str,
        single_layers: str,
        scale: float,
        start_percent: float,
        end_percent: float,
        rescaling_scale: float,
    ) -> Any:
        model = native_model(model)
        blocks = frozenset(int(number) for number in re.findall(r"\d+", double_layers))
        check_blocks(blocks, model.model.spec.config.layers)
        part = PartOfNoise(*(sigma_of_percent(percent, model.shift) for percent in (start_percent, end_percent)))
        skipped = SkippedLayers(blocks, scale, part, rescaling_scale)
        settings = _settings(model)
        if settings.skipped.blocks:
            settings = GuidanceSettings(before=settings)
        return io.NodeOutput(_with_guidance(model, replace(settings, skipped=skipped)))


class UNetTemporalAttentionMultiply(io.ComfyNode):
    """Scales attention layers of models of another kind."""

    @classmethod
    def define_schema(cls) -> Any:
        names = ("self_structural", "self_temporal", "cross_structural", "cross_temporal")
        inputs = (
            io.Float.Input(name, default=1.0, min=0.0, max=10.0, step=0.01, advanced=True, tooltip="No effect here.")
            for name in names
        )
        return io.Schema(
            node_id="UNetTemporalAttentionMultiply",
            category="experimental/attention_experiments",
            inputs=[io.Model.Input("model"), *inputs],
            outputs=[io.Model.Output()],
        )

    @classmethod
    def execute(cls, model: NativeModel, **scales: float) -> Any:
        logger.info("UNetTemporalAttentionMultiply does nothing to a Wan model, which has no layers of that kind.")
        return io.NodeOutput(native_model(model))


class ScaleROPE(io.ComfyNode):
    """Where the model sees its tokens, in time and space."""

    @classmethod
    def define_schema(cls) -> Any:
        inputs = []
        for axis in ("x", "y", "t"):
            inputs += [
                io.Float.Input(
                    f"scale_{axis}",
                    default=1.0,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    advanced=True,
                    tooltip="Of distances.",
                ),
                io.Float.Input(
                    f"shift_{axis}",
                    default=0.0,
                    min=-256.0,
                    max=256.0,
                    step=0.1,
                    advanced=True,
                    tooltip="Of the start.",
                ),
            ]
        return io.Schema(
            node_id="ScaleROPE",
            category="model/patch",
            inputs=[io.Model.Input("model"), *inputs],
            outputs=[io.Model.Output()],
        )

    @classmethod
    def execute(
        cls,
        model: NativeModel,
        scale_x: float,
        shift_x: float,
        scale_y: float,
        shift_y: float,
        scale_t: float,
        shift_t: float,
    ) -> Any:
        places = TokenPlaces((scale_t, scale_y, scale_x), (shift_t, shift_y, shift_x))
        return io.NodeOutput(_with_policies(native_model(model), lambda policies: replace(policies, places=places)))


def _settings(model: NativeModel) -> GuidanceSettings:
    """Those of the model, to add to."""
    guidance = model.model.policies.guidance
    return guidance if isinstance(guidance, GuidanceSettings) else GuidanceSettings(before=guidance)


def _with_guidance(model: NativeModel, settings: GuidanceSettings) -> NativeModel:
    return _with_policies(model, lambda policies: replace(policies, guidance=settings))


def _with_policies(model: NativeModel, change: Callable[[StepPolicies], StepPolicies]) -> NativeModel:
    return replace(model, model=with_policies(model.model, change))
