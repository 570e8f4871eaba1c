"""How the velocities of the positive and the negative prompt become one."""

from .cfg import CFG
from .described import formula_of, has_course, parts_of
from .guidance import Guidance, Memory, OfScale, most_asks
from .low_pass import BlurredFrames, LowPass, LowPassSettings
from .nag import AttentionGuidance
from .parts import WHOLE_RUN, Part, PartOfNoise, PartOfSteps
from .projected import AdaptiveProjected, TangentialDamping
from .scale import ScaleCurve, ScaleOverRun, parse_curve
from .settings import FORMULAS, GuidanceSettings, SkippedLayers
from .skip_layers import SkipLayers, check_blocks
from .staged import NOTHING_SHOWN, SOURCE_SHOWN, ShownSubjects, StagedContext
from .words import SliderSettings, WordsSlider
from .zero_star import CfgZeroStar

__all__ = [
    "CFG",
    "FORMULAS",
    "NOTHING_SHOWN",
    "SOURCE_SHOWN",
    "WHOLE_RUN",
    "AdaptiveProjected",
    "AttentionGuidance",
    "BlurredFrames",
    "CfgZeroStar",
    "Guidance",
    "GuidanceSettings",
    "LowPass",
    "LowPassSettings",
    "Memory",
    "OfScale",
    "Part",
    "PartOfNoise",
    "PartOfSteps",
    "ScaleCurve",
    "ScaleOverRun",
    "ShownSubjects",
    "SkipLayers",
    "SliderSettings",
    "StagedContext",
    "SkippedLayers",
    "TangentialDamping",
    "WordsSlider",
    "check_blocks",
    "formula_of",
    "has_course",
    "most_asks",
    "parse_curve",
    "parts_of",
]
