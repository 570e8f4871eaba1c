"""Guidance as a user sets it up: a formula, the course of its scale, and skip-layer guidance on top."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import field, replace
from functools import partial

from ...common.errors import InvalidInputError
from ...common.records import record
from ..ask import AvoidedText
from ..validation import find_choice
from .cfg import CFG
from .guidance import Guidance, OfScale
from .low_pass import LowPassSettings
from .nag import AttentionGuidance
from .parts import WHOLE_RUN, Part
from .projected import AdaptiveProjected, TangentialDamping
from .scale import ScaleCurve, ScaleOverRun
from .skip_layers import SkipLayers, WeakNegative
from .staged import ShownSubjects, StagedContext
from .words import SliderSettings
from .zero_star import CfgZeroStar

FORMULAS = ("cfg", "cfg_zero_star", "apg", "tcfg", "staged", "phantom")
"""How the two prompts become one velocity."""


@record
class SkippedLayers:
    """See `SkipLayers`; no blocks or a scale of 0 turn it off.

    Raises:
        InvalidInputError: `scale` is no finite number.
    """

    blocks: frozenset[int] = frozenset()
    scale: float = 3.0
    part: Part = WHOLE_RUN
    rescale: float = 0.0

    def __post_init__(self) -> None:
        if not math.isfinite(self.scale):
            raise InvalidInputError(
                f"The scale of skip-layer guidance must be a finite number, got {self.scale:g}. Usual are 1 to 3; 0 is "
                "off."
            )

    def over(self, guided: Guidance) -> Guidance:
        """On top of another guidance; that one itself where it is off."""
        if not self.blocks or not self.scale:
            return guided
        return SkipLayers(guided, self.blocks, self.scale, self.part, self.rescale)


@record
class GuidanceSettings:
    """From a scale to the guidance of these settings; with all defaults to plain classifier-free guidance.

    Skipped layers are over the formula, and attention guidance is in the passes of both.

    Attributes:
        formula: one of `FORMULAS`; `cfg` leaves that of `before`.
        zero_steps: see `CfgZeroStar`.
        parallel, longest, momentum: see `AdaptiveProjected`.
        curve, part: see `ScaleOverRun`.
        skipped: see `SkipLayers`.
        nag, nag_part: see `AttentionGuidance`; None turns it off.
        before: what the settings build on.
        weak: see `WeakNegative`; its scale does not count.
        video, references: see `StagedContext`; the latter of `ShownSubjects`, too.

    Raises:
        InvalidInputError: there is no such formula, its numbers cannot be, or the settings say again what those before
            said.
    """

    formula: str = "cfg"
    zero_steps: int = 0
    parallel: float = 0.0
    longest: float = 0.0
    momentum: float = 0.0
    curve: ScaleCurve | None = None
    part: Part = WHOLE_RUN
    skipped: SkippedLayers = field(default_factory=SkippedLayers)
    nag: AvoidedText | None = None
    nag_part: Part = WHOLE_RUN
    before: OfScale = CFG
    weak: SkippedLayers = field(default_factory=SkippedLayers)
    video: float = 1.0
    references: float = 1.0

    def __post_init__(self) -> None:
        formula = find_choice(self._formulas(), self.formula, "guidance formula")
        if self.formula != "cfg":
            formula(1.0)  # refuses its numbers here, and not only in a run
        for before in _settings_in(self.before):
            self._check_beside(before)

    def _check_beside(self, before: GuidanceSettings) -> None:
        twice = {
            f"the formula ({before.formula} and {self.formula})": "cfg" not in (before.formula, self.formula),
            "attention guidance": before.nag is not None and self.nag is not None,
            "the course of cfg": before.curve is not None and self.curve is not None,
        }
        for what in (what for what, is_said in twice.items() if is_said):
            raise InvalidInputError(
                f"Two guidance settings of one model both choose {what}, and only one can count. Leave one of them off."
            )

    def __call__(self, scale: float) -> Guidance:
        """The guidance at a scale."""
        formula = self._formulas()[self.formula]
        if self.formula != "cfg":
            formula = _at_the_bottom(self.before, formula)
        plain = self.curve is None and self.part == WHOLE_RUN
        guided = formula(scale) if plain else self._over_run(formula, scale)
        guided = self.skipped.over(guided)
        if self.weak.blocks:
            guided = WeakNegative(guided, self.weak.blocks, self.weak.part)
        return guided if self.nag is None else AttentionGuidance(guided, self.nag, self.nag_part)

    def _over_run(self, formula: OfScale, scale: float) -> Guidance:
        beyond = _without_course(formula)
        return ScaleOverRun(formula, scale, self.curve, self.part, None if beyond is formula else beyond)

    def _formulas(self) -> dict[str, OfScale]:
        return {
            "cfg": self.before,
            "cfg_zero_star": partial(CfgZeroStar, zero_steps=self.zero_steps),
            "apg": partial(AdaptiveProjected, parallel=self.parallel, longest=self.longest, momentum=self.momentum),
            "tcfg": TangentialDamping,
            "staged": partial(StagedContext, video=self.video, references=self.references),
            "phantom": partial(ShownSubjects, pictures=self.references),
        }


_OnTop = GuidanceSettings | SliderSettings | LowPassSettings
"""Settings that say what they build on."""


def _settings_in(before: OfScale) -> Iterator[GuidanceSettings]:
    """All settings that others build on."""
    while isinstance(before, _OnTop):
        if isinstance(before, GuidanceSettings):
            yield before
        before = before.before


def _at_the_bottom(before: OfScale, formula: OfScale) -> OfScale:
    """What `before` sets on top of its own formula, on top of another one."""
    if isinstance(before, _OnTop):
        return replace(before, before=_at_the_bottom(before.before, formula))
    return formula


def _without_course(before: OfScale) -> OfScale:
    """What `before` sets, at one scale in all steps; itself where it has no course."""
    if not any(settings.curve for settings in _settings_in(before)):
        return before
    assert isinstance(before, _OnTop), "no other has settings in it"
    below = _without_course(before.before)
    return (
        replace(before, curve=None, before=below)
        if isinstance(before, GuidanceSettings)
        else replace(before, before=below)
    )
