"""A guidance of several parts, seen from outside: what each does, and in which steps."""

from __future__ import annotations

from collections.abc import Iterator

from .guidance import Guidance
from .low_pass import LowPass
from .nag import AttentionGuidance
from .parts import Part
from .scale import ScaleOverRun
from .skip_layers import SkipLayers
from .words import WordsSlider

_WORDS: dict[type, str] = {
    AttentionGuidance: "Normalized attention guidance",
    SkipLayers: "Skip-layer guidance",
    WordsSlider: "The slider between lively and calm words",
    LowPass: "The low-pass of given frames",
    ScaleOverRun: "Guidance by the negative prompt",
}


def parts_of(guidance: Guidance) -> Iterator[tuple[str, Part]]:
    """What counts in a part of the steps, in words that begin a sentence, and that part; the outermost first."""
    while isinstance(guidance, AttentionGuidance | SkipLayers | WordsSlider | LowPass | ScaleOverRun):
        yield _WORDS[type(guidance)], guidance.part
        guidance = guidance.guidance(guidance.scale) if isinstance(guidance, ScaleOverRun) else guidance.guided
