"""Nodes that put a model and its prompts together for a custom run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import torch

from .....common.checking import choice_of, has_values
from .....common.errors import InvalidInputError
from .....engine.models import with_policies
from .....sampling.guidance import GuidanceSettings
from .....sampling.validation import MAX_CFG, check_cfg
from .... import standin as io
from ....conditioning.families.subjects import BLANK
from ....sockets.native_model import NativeModel, native_model
from ..dynamic_inputs import Model
from .parts import GuidedBy, Guider

Style = Literal["regular", "nested"]
_STYLES: tuple[Style, ...] = ("regular", "nested")


def cfg_input(
    name: str = "cfg", tooltip: str = "How strongly the prompt counts; at 1 the negative prompt is off."
) -> Any:
    """The widget of a guidance scale."""
    return io.Float.Input(name, default=8.0, min=0.0, max=MAX_CFG, step=0.1, round=0.01, tooltip=tooltip)


class CFGGuider(io.ComfyNode):
    """Two prompts and how strongly they count."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="CFGGuider",
            display_name="CFG Guider",
            category="model/sampling/guiders",
            inputs=[
                Model.Input("model"),
                io.Conditioning.Input("positive", tooltip="What the video should show."),
                io.Conditioning.Input("negative", tooltip="What it should not show; not used at cfg 1."),
                cfg_input(),
            ],
            outputs=[Guider.Output()],
        )

    @classmethod
    def execute(cls, model: NativeModel, positive: list, negative: list, cfg: float) -> Any:
        check_cfg(cfg)
        return io.NodeOutput(GuidedBy(native_model(model), positive, negative, cfg))


class BasicGuider(io.ComfyNode):
    """One prompt, at cfg 1."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="BasicGuider",
            display_name="Basic Guider",
            category="model/sampling/guiders",
            inputs=[Model.Input("model"), io.Conditioning.Input("conditioning", tooltip="What the video should show.")],
            outputs=[Guider.Output()],
        )

    @classmethod
    def execute(cls, model: NativeModel, conditioning: list) -> Any:
        return io.NodeOutput(GuidedBy(native_model(model), conditioning, conditioning, 1.0))


class DualCFGGuider(io.ComfyNode):
    """Three prompts of Phantom: with pictures, with pictures and the negative text, and that with blank pictures."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="DualCFGGuider",
            display_name="Dual CFG Guider",
            category="model/sampling/guiders",
            inputs=[
                Model.Input("model"),
                io.Conditioning.Input("cond1", tooltip="What the video should show."),
                io.Conditioning.Input("cond2", tooltip="The negative prompt with the same pictures."),
                io.Conditioning.Input("negative", tooltip="The negative prompt with blank pictures."),
                cfg_input("cfg_conds", "How strongly the prompt counts."),
                cfg_input("cfg_cond2_negative", "How strongly the pictures count."),
                io.Combo.Input("style", options=list(_STYLES)),
            ],
            outputs=[Guider.Output()],
        )

    @classmethod
    def execute(
        cls,
        model: NativeModel,
        cond1: list,
        cond2: list,
        negative: list,
        cfg_conds: float,
        cfg_cond2_negative: float,
        style: str,
    ) -> Any:
        _check_blank(cond2, negative)
        is_nested = choice_of(style, _STYLES, "style") == "nested"
        text = cfg_conds * cfg_cond2_negative if is_nested else cfg_conds
        check_cfg(text)
        settings, own = GuidanceSettings("phantom", references=cfg_cond2_negative), native_model(model)
        guided = with_policies(
            own.model, lambda policies: replace(policies, guidance=replace(settings, before=policies.guidance))
        )
        return io.NodeOutput(GuidedBy(replace(own, model=guided), cond1, cond2, text))


def _check_blank(shown: list, blank: list) -> None:
    """Refuses a third prompt that is not the second one with blank pictures.

    Raises:
        InvalidInputError: it is another one.
    """
    pairs = zip(shown, blank)
    is_blank = len(shown) == len(blank) and all(BLANK in values for _text, values in blank)
    if not is_blank or not all(_is_same(one[0], other[0]) for one, other in pairs):
        raise InvalidInputError(
            "Dual CFG Guider runs here with the prompts of WanPhantomSubjectToVideo alone: positive as cond1, "
            "negative_text as cond2 and negative_img_text as negative, of the same text. Connect those, or use "
            "CFGGuider."
        )


def _is_same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one is other or not has_values(one) or (one.shape == other.shape and bool(torch.equal(one, other)))
