"""A guidance of several parts, seen from outside: what each does, and in which steps."""

from __future__ import annotations

from collections.abc import Iterator

from ..step import NoiseLevel
from .cfg import CFG
from .guidance import Guidance
from .low_pass import LowPass
from .nag import AttentionGuidance
from .parts import Part
from .projected import AdaptiveProjected, TangentialDamping
from .scale import ScaleOverRun
from .skip_layers import SkipLayers, WeakNegative
from .staged import ShownSubjects, StagedContext
from .words import WordsSlider
from .zero_star import CfgZeroStar

_WORDS: dict[type, str] = {
    AttentionGuidance: "Normalized attention guidance",
    SkipLayers: "Skip-layer guidance",
    WeakNegative: "The negative prompt's pass without some blocks",
    WordsSlider: "The slider between lively and calm words",
    LowPass: "The low-pass of given frames",
    ScaleOverRun: "Guidance by the negative prompt",
}


Formula = CFG | CfgZeroStar | AdaptiveProjected | TangentialDamping | StagedContext | ShownSubjects
"""What lies at the bottom of a guidance: how two velocities become one."""

_ON_TOP = AttentionGuidance | SkipLayers | WeakNegative | WordsSlider | LowPass


def parts_of(guidance: Guidance) -> Iterator[tuple[str, Part]]:
    """What counts in a part of the steps, in words that begin a sentence, and that part; the outermost first."""
    while isinstance(guidance, _ON_TOP | ScaleOverRun):
        yield _WORDS[type(guidance)], guidance.part
        guidance = guidance.guidance(guidance.scale) if isinstance(guidance, ScaleOverRun) else guidance.guided


def formula_of(guidance: Guidance, level: NoiseLevel) -> Formula | None:
    """What is at the bottom of a guidance in the step that begins at a noise level; None for one that is not known."""
    while isinstance(guidance, _ON_TOP | ScaleOverRun):
        guidance = guidance.at(level) if isinstance(guidance, ScaleOverRun) else guidance.guided
    return guidance if isinstance(guidance, Formula) else None


def has_course(guidance: Guidance) -> bool:
    """Whether its scale is that of a course, in place of a scale of the run."""
    while isinstance(guidance, _ON_TOP | ScaleOverRun):
        if isinstance(guidance, ScaleOverRun) and guidance.curve is not None:
            return True
        guidance = guidance.guidance(guidance.scale) if isinstance(guidance, ScaleOverRun) else guidance.guided
    return False
