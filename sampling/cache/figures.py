"""What step caches need to know of each model, found by the model's form."""

from __future__ import annotations

from ...common.records import record
from ...dit.branches.clip import ClipBranch
from ...dit.branches.vace import VaceBranch
from ...dit.config import DiTConfig
from . import published_ratios as published
from .bundled_figures import I2V_TINY, T2V_TINY, TIME_I2V_TINY, TIME_T2V_TINY

_SIZES = {(1536, 30): "1.3B", (3072, 30): "5B", (5120, 40): "14B", (192, 5): "tiny"}
"""Width and number of blocks -> the size."""


@record
class Figures:
    """Of a model.

    Attributes:
        ratios: see `mag_cache.MagnitudeRatios`; empty where none are known.
        ratio_threshold: the usual one with them.
        coefficients: see `tea_cache.TimeEmbedding`; empty where none are known.
        time_threshold: the usual one with them.
    """

    ratios: tuple[float, ...] = ()
    ratio_threshold: float = 0.12
    coefficients: tuple[float, ...] = ()
    time_threshold: float = 0.15


UNKNOWN = Figures()

# Coefficients: modelscope/DiffSynth-Studio diffsynth/pipelines/wan_video.py (2.1.12), as ali-vilab/TeaCache
# TeaCache4Wan2.1 has them; of the 5B model ModelTC/LightX2V configs/caching/teacache/wan_ti2v_tea_720p.json @ 29c8504.
# Thresholds: the middle one of those that the authors name, and their default for MagCache.
_TIME_1_3B = (-5.21862437e04, 9.23041404e03, -5.28275948e02, 1.36987616e01, -4.99875664e-02)
_TIME_T2V_14B = (-3.03318725e05, 4.90537029e04, -2.65530556e03, 5.87365115e01, -3.15583525e-01)
_TIME_I2V_480P = (2.57151496e05, -3.54229917e04, 1.40286849e03, -1.35890334e01, 1.32517977e-01)
_TIME_I2V_720P = (8.10705460e03, 2.13393892e03, -3.72934672e02, 1.66203073e01, -4.17769401e-02)
_TIME_5B = (1.57472669e05, -1.15702395e05, 3.10761669e04, -3.83116651e03, 2.21608777e02, -4.81179567e00)

FIGURES = {
    "t2v-1.3B": Figures(published.T2V_1_3B, 0.12, _TIME_1_3B, 0.07),
    "vace-1.3B": Figures(published.VACE_1_3B, 0.12, _TIME_1_3B, 0.07),
    "t2v-14B": Figures(published.T2V_14B, 0.12, _TIME_T2V_14B, 0.15),
    "vace-14B": Figures(published.T2V_14B, 0.12, _TIME_T2V_14B, 0.15),
    "i2v-14B": Figures(published.I2V_14B_480P, 0.12, _TIME_I2V_480P, 0.19),
    "flf2v-14B": Figures(published.I2V_14B_720P, 0.12, _TIME_I2V_720P, 0.2),
    "t2v-A14B": Figures(published.T2V_A14B, 0.04),
    "i2v-A14B": Figures(published.I2V_A14B, 0.04),
    "t2v-5B": Figures(published.TI2V_5B, 0.04, _TIME_5B, 0.26),
    "t2v-tiny": Figures(T2V_TINY, 0.12, TIME_T2V_TINY, 0.08),
    "i2v-tiny": Figures(I2V_TINY, 0.12, TIME_I2V_TINY, 0.08),
}


def figures_of(config: DiTConfig, *, is_pair: bool = False) -> Figures:
    """What is known of a model by its width, depth, inputs and branches; `UNKNOWN` of any other.

    The 480p and the 720p model of Wan 2.1 I2V have one form; they are taken for the first.

    Args:
        is_pair: whether it makes a part of the steps, as one of two experts.
    """
    size = _SIZES.get((config.dim, config.layers))
    kind = _kind(config)
    if size is None or kind is None:
        return UNKNOWN
    without_clip = config.branch(ClipBranch) is None
    if size == "14B" and (is_pair or (kind == "i2v" and without_clip)):
        size = "A14B"
    return FIGURES.get(f"{kind}-{size}", UNKNOWN)


def _kind(config: DiTConfig) -> str | None:
    """What such a model makes videos from; None where it has inputs or branches that no figures are of."""
    if {type(branch) for branch in config.branches} - {ClipBranch, VaceBranch}:
        return None
    if config.branch(VaceBranch) is not None:
        return "vace" if not config.image_channels else None
    if not config.image_channels:
        return "t2v"
    if config.image_channels != config.out_channels + 4:
        return None
    clip = config.branch(ClipBranch)
    return "flf2v" if clip is not None and clip.positions is not None else "i2v"
