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
from .....sampling.guidance import CFG, CfgZeroStar, GuidanceSettings, PartOfNoise, SkippedLayers, check_blocks
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
        if settings.formula != "cfg":
            raise InvalidInputError(
                f"CFGZeroStar comes after another formula ({settings.formula}), and on the command line one counts. "
                "Take one of the two nodes out."
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
        part = _part(model, start_percent, end_percent)
        skipped = SkippedLayers(_blocks(model, double_layers), scale, part, rescaling_scale)
        settings = _settings(model)
        if settings.skipped.blocks:
            settings = GuidanceSettings(before=settings)
        return io.NodeOutput(_with_guidance(model, replace(settings, skipped=skipped)))


class SkipLayerGuidanceDiTSimple(io.ComfyNode):
    """The negative prompt asked without some of the blocks."""

    @classmethod
    def define_schema(cls) -> Any:
        part = {"min": 0.0, "max": 1.0, "step": 0.001, "advanced": True}
        return io.Schema(
            node_id="SkipLayerGuidanceDiTSimple",
            category="advanced/guidance",
            inputs=[
                io.Model.Input("model"),
                io.String.Input("double_layers", default="7, 8, 9", advanced=True, tooltip="Blocks to leave out."),
                io.String.Input(
                    "single_layers", default="7, 8, 9", advanced=True, tooltip="Blocks that Wan models do not have."
                ),
                io.Float.Input("start_percent", default=0.0, **part, tooltip="From this part of the noise on."),
                io.Float.Input("end_percent", default=1.0, **part, tooltip="Up to this part of the noise."),
            ],
            outputs=[io.Model.Output()],
        )

    @classmethod
    def execute(
        cls, model: NativeModel, double_layers: str, single_layers: str, start_percent: float, end_percent: float
    ) -> Any:
        model = native_model(model)
        weak = SkippedLayers(_blocks(model, double_layers), part=_part(model, start_percent, end_percent))
        # As there, of two such nodes the last one counts; one without any numbers changes nothing.
        is_empty = not re.search(r"\d", double_layers + single_layers)
        return io.NodeOutput(model if is_empty else _with_guidance(model, replace(_settings(model), weak=weak)))


class TCFG(io.ComfyNode):
    """Of the negative prompt only what both have in common."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="TCFG",
            display_name="Tangential Damping CFG",
            category="advanced/guidance",
            inputs=[io.Model.Input("model")],
            outputs=[io.Model.Output(display_name="patched_model")],
        )

    @classmethod
    def execute(cls, model: NativeModel) -> Any:
        model = native_model(model)
        settings = _settings(model)
        if settings.before is not CFG or settings.formula != "cfg":
            raise InvalidInputError(
                "TCFG comes after a node that changes the formula of the guidance, and on the command line one counts. "
                "Take one of the two nodes out."
            )
        return io.NodeOutput(_with_guidance(model, replace(settings, formula="tcfg")))


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


def _blocks(model: NativeModel, text: str) -> frozenset[int]:
    """The numbers in a text, of blocks that a model can be asked without."""
    blocks = frozenset(int(number) for number in re.findall(r"\d+", text))
    check_blocks(blocks, model.model.spec.config.layers)
    return blocks


def _part(model: NativeModel, start: float, end: float) -> PartOfNoise:
    return PartOfNoise(*(sigma_of_percent(percent, model.shift) for percent in (start, end)))


def _settings(model: NativeModel) -> GuidanceSettings:
    """Those of the model, to add to."""
    guidance = model.model.policies.guidance
    return guidance if isinstance(guidance, GuidanceSettings) else GuidanceSettings(before=guidance)


def _with_guidance(model: NativeModel, settings: GuidanceSettings) -> NativeModel:
    return _with_policies(model, lambda policies: replace(policies, guidance=settings))


def _with_policies(model: NativeModel, change: Callable[[StepPolicies], StepPolicies]) -> NativeModel:
    return replace(model, model=with_policies(model.model, change))
