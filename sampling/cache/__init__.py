"""What may stand in for a pass of the model."""

from .cache import (
    NOTHING_KEPT,
    Cache,
    CacheRun,
    Evaluation,
    Kept,
    Question,
    Tally,
    computed,
    tally_of,
    with_tally,
)
from .easy_cache import TransformationRate
from .mag_cache import MagnitudeRatios
from .no_cache import NO_CACHE, NoCache
from .recording import RatioRecorder
from .reuse import BlocksChange, OutputChange
from .settings import USUAL_RATE_THRESHOLD, StepCacheSettings
from .step_cache import FEWEST_STEPS, StepCache
from .tea_cache import TimeEmbedding

__all__ = [
    "FEWEST_STEPS",
    "NOTHING_KEPT",
    "NO_CACHE",
    "BlocksChange",
    "Cache",
    "CacheRun",
    "Evaluation",
    "Kept",
    "MagnitudeRatios",
    "NoCache",
    "OutputChange",
    "Question",
    "RatioRecorder",
    "StepCache",
    "StepCacheSettings",
    "USUAL_RATE_THRESHOLD",
    "Tally",
    "TimeEmbedding",
    "TransformationRate",
    "computed",
    "tally_of",
    "with_tally",
]
