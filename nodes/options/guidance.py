"""The node that says how prompts guide the steps."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from ...common.checking import check_number, check_string
from ...common.log import logger
from ...dit.adapters import parse_blocks
from ...engine.models import VideoModel, with_policies
from ...engine.sampling.policies import StepPolicies
from ...sampling.ask import AvoidedText
from ...sampling.guidance import (
    FORMULAS,
    GuidanceSettings,
    PartOfSteps,
    SkippedLayers,
    check_blocks,
    parse_curve,
)
from ..api import ADVANCED, io, one_sentence
from ..loaders import WanModelType

STAGED_VIDEO, STAGED_REFERENCES = 1.25, 4.5
"""The scales that the authors of Bernini-R take."""


def _scale_widgets() -> list[Any]:
    """How the two prompts become one, and in which steps."""
    return [
        io.Combo.Input(
            "formula",
            options=list(FORMULAS),
            default="cfg",
            tooltip="How positive and negative prompt are weighed: cfg plainly; cfg_zero_star keeps colours calmer "
            "with few steps; apg lets high cfg keep its colours; tcfg damps what only the negative prompt says; staged "
            "is for Bernini-R: source video and references by scales of their own; phantom is for Phantom: pictures "
            "by staged_references.",
        ),
        io.String.Input(
            "cfg_course",
            default="",
            tooltip="Empty: the sampler's cfg in all steps. One number a step, such as 6, 6, 3, 1 (the last one "
            "stays), or numbers at parts of the run, such as 0:6, 0.5:3.",
        ),
        _part("cfg_start", 0.0, "From which part of the steps on the negative prompt counts; before, cfg is 1."),
        _part(
            "cfg_end",
            1.0,
            "Up to which part of the steps the negative prompt counts, as 0.5; then cfg is 1.",
        ),
        io.Int.Input(
            "zero_steps",
            default=0,
            min=0,
            max=20,
            tooltip="Only cfg_zero_star: so many first steps change nothing. The authors take 1 of 50.",
            **ADVANCED,
        ),
        io.Float.Input(
            "apg_parallel",
            default=0.0,
            min=-10.0,
            max=10.0,
            step=0.05,
            round=0.001,
            tooltip="Only apg: how much counts of what makes colours glaring; 1 is all of it.",
            **ADVANCED,
        ),
        io.Float.Input(
            "apg_longest",
            default=0.0,
            min=0.0,
            max=1000.0,
            step=0.5,
            round=0.001,
            tooltip="Only apg: the most that the difference of the prompts may measure; 0 for any.",
            **ADVANCED,
        ),
    ]


def _skip_widgets() -> list[Any]:
    """Skip-layer guidance."""
    return [
        io.String.Input(
            "skip_blocks",
            default="",
            tooltip="Blocks to leave out in a pass of its own, such as 9 or 9,10; the video is led away from what "
            "comes without them. Sharpens shapes and motion, for half as much time again in its steps. Empty: off.",
        ),
        io.Float.Input(
            "skip_scale",
            default=3.0,
            min=0.0,
            max=10.0,
            step=0.1,
            round=0.001,
            tooltip="How far away; 0 is off, 1 to 3 are usual.",
        ),
        _part("skip_start", 0.0, "From which part of the steps on blocks are left out."),
        _part("skip_end", 0.5, "Up to which part of the steps blocks are left out; late ones only cost time."),
    ]


def _nag_widgets() -> list[Any]:
    """Normalized attention guidance."""
    return [
        io.Float.Input(
            "nag_scale",
            default=1.0,
            min=1.0,
            max=50.0,
            step=0.5,
            round=0.001,
            tooltip="A negative prompt that counts at cfg 1, too, for models and LoRAs of few steps: 1 is off, 11 "
            "is usual. Takes no pass of its own.",
        ),
        io.Float.Input(
            "nag_alpha",
            default=0.25,
            min=0.0,
            max=1.0,
            step=0.05,
            round=0.001,
            tooltip="How much of it is mixed in; 0.25 is usual.",
            **ADVANCED,
        ),
        io.Float.Input(
            "nag_tau",
            default=2.5,
            min=1.0,
            max=10.0,
            step=0.1,
            round=0.001,
            tooltip="How many times as strong as without it attention may become; 2.5 is usual.",
            **ADVANCED,
        ),
        _part("nag_end", 1.0, "Up to which part of the steps it counts."),
    ]


def _momentum_widget() -> Any:
    """Of apg; behind the others, as it came later."""
    return io.Float.Input(
        "apg_momentum",
        optional=True,
        default=0.0,
        min=-0.95,
        max=0.95,
        step=0.05,
        round=0.001,
        tooltip="Only apg: how much the differences of the prompts in earlier steps count; the authors take -0.75 to "
        "-0.25, away from them. 0 is off.",
        **ADVANCED,
    )


def _stage_widgets() -> list[Any]:
    """Of staged; behind the others, as they came later."""
    scale: dict[str, Any] = {"optional": True, "min": 0.0, "max": 100.0, "step": 0.05, "round": 0.001, **ADVANCED}
    return [
        io.Float.Input(
            "staged_video",
            default=STAGED_VIDEO,
            tooltip="Only staged: how much the source video of Wan Bernini Conditioning counts, beside cfg for the "
            "words. 1 without a source video.",
            **scale,
        ),
        io.Float.Input(
            "staged_references",
            default=STAGED_REFERENCES,
            tooltip="Only staged: how much its references count. Without references the same number as staged_video. "
            "Only phantom: how much its pictures count; its authors take 5, and 7.5 for cfg.",
            **scale,
        ),
    ]


def _weak_widget() -> Any:
    """Of the negative pass; behind the others, as it came later."""
    return io.String.Input(
        "negative_skip_blocks",
        optional=True,
        default="",
        tooltip="Blocks that the negative prompt is asked without, which leads away from what is badly formed: 9 for "
        "Wan-Dancer and Wan-Animate-2, as their authors do. Empty is off.",
        **ADVANCED,
    )


def _part(name: str, default: float, tooltip: str) -> Any:
    return io.Float.Input(name, default=default, min=0.0, max=1.0, step=0.01, round=0.001, tooltip=tooltip, **ADVANCED)


class WanDirectorGuidance(io.ComfyNode):
    """How prompts guide the steps of a model's runs."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanDirectorGuidance",
            display_name="Wan Guidance",
            category="Wan Director/options",
            description="How the prompts lead the video: cfg that changes over the run or acts in a part of it, better "
            "formulas (CFG-Zero*, APG, TCFG), skip-layer guidance, and NAG: a negative prompt that counts at cfg 1. As "
            "it comes it changes nothing.",
            search_aliases=[
                "cfg", "nag", "slg", "skip layer guidance", "cfg zero star", "apg", "tcfg", "negative prompt",
                "cfg schedule", "bernini guidance",
            ],
            inputs=[
                WanModelType.Input("model", tooltip="From Load Wan Model, Wan LoRA or Wan Two Experts."),
                *_scale_widgets(),
                *_skip_widgets(),
                *_nag_widgets(),
                _momentum_widget(),
                *_stage_widgets(),
                _weak_widget(),
            ],
            outputs=[
                WanModelType.Output(display_name="model", tooltip="The model, for the sampler or another option.")
            ],
        )  # fmt: skip

    @classmethod
    @one_sentence
    def execute(
        cls,
        model: VideoModel,
        formula: str,
        cfg_course: str,
        cfg_start: float,
        cfg_end: float,
        zero_steps: int,
        apg_parallel: float,
        apg_longest: float,
        skip_blocks: str,
        skip_scale: float,
        skip_start: float,
        skip_end: float,
        nag_scale: float,
        nag_alpha: float,
        nag_tau: float,
        nag_end: float,
        apg_momentum: float = 0.0,
        staged_video: float = STAGED_VIDEO,
        staged_references: float = STAGED_REFERENCES,
        negative_skip_blocks: str = "",
    ) -> Any:
        settings = GuidanceWidgets(
            formula, cfg_course, cfg_start, cfg_end, zero_steps, apg_parallel, apg_longest, skip_blocks, skip_scale,
            skip_start, skip_end, nag_scale, nag_alpha, nag_tau, nag_end, apg_momentum, staged_video, staged_references,
            negative_skip_blocks,
        ).settings(model.spec.config.layers)  # fmt: skip
        return io.NodeOutput(with_policies(model, partial(_guided, settings=settings)))


class GuidanceWidgets(NamedTuple):
    """What the widgets say, in their order."""

    formula: str
    cfg_course: str
    cfg_start: float
    cfg_end: float
    zero_steps: int
    apg_parallel: float
    apg_longest: float
    skip_blocks: str
    skip_scale: float
    skip_start: float
    skip_end: float
    nag_scale: float
    nag_alpha: float
    nag_tau: float
    nag_end: float
    apg_momentum: float
    staged_video: float = STAGED_VIDEO
    staged_references: float = STAGED_REFERENCES
    negative_skip_blocks: str = ""

    def settings(self, layers: int) -> GuidanceSettings:
        """The guidance of a model with so many blocks.

        Raises:
            InvalidInputError: what a widget says cannot work.
        """
        self._check_kinds()
        self._tell_idle()
        return GuidanceSettings(
            self.formula,
            self.zero_steps,
            self.apg_parallel,
            self.apg_longest,
            self.apg_momentum,
            parse_curve(self.cfg_course),
            PartOfSteps(self.cfg_start, self.cfg_end),
            self._skipped(layers),
            self._avoided(),
            PartOfSteps(0.0, self.nag_end),
            video=self.staged_video,
            references=self.staged_references,
            weak=SkippedLayers(_blocks(self.negative_skip_blocks, layers)),
        )

    def _check_kinds(self) -> None:
        """Refuses what no widget gives, as linked values may."""
        for name, value in self._asdict().items():
            check = check_string if name in _TEXTS else check_number
            check(value, name)

    def _tell_idle(self) -> None:
        """Says which numbers belong to another formula than is chosen."""
        of_formulas = {
            "cfg_zero_star": {"zero_steps": 0},
            "apg": {"apg_parallel": 0, "apg_longest": 0, "apg_momentum": 0},
            "staged": {"staged_video": STAGED_VIDEO, "staged_references": STAGED_REFERENCES},
        }
        if self.formula == "phantom":
            del of_formulas["staged"]["staged_references"]
        for formula, defaults in of_formulas.items():
            own = self._asdict()
            for name in (name for name in defaults if self.formula != formula and own[name] != defaults[name]):
                logger.warning(
                    "%s does nothing here: it is for the formula %s, and %s is chosen.", name, formula, self.formula
                )

    def _skipped(self, layers: int) -> SkippedLayers:
        blocks = _blocks(self.skip_blocks, layers)
        if not blocks or not self.skip_scale:
            return SkippedLayers()
        return SkippedLayers(blocks, self.skip_scale, PartOfSteps(self.skip_start, self.skip_end))

    def _avoided(self) -> AvoidedText | None:
        if self.nag_scale == 1.0 or not self.nag_alpha:
            return None
        return AvoidedText(self.nag_scale, self.nag_alpha, self.nag_tau)


_TEXTS = ("formula", "cfg_course", "skip_blocks", "negative_skip_blocks")


def _blocks(text: str, layers: int) -> frozenset[int]:
    """The blocks that a widget names, of so many."""
    blocks = parse_blocks(text) if text.strip() else frozenset()
    if blocks is None:  # all
        blocks = frozenset(range(layers))
    check_blocks(blocks, layers)
    return blocks


def _guided(policies: StepPolicies, settings: GuidanceSettings) -> StepPolicies:
    return replace(policies, guidance=replace(settings, before=policies.guidance))
