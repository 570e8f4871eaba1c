"""Nodes that are about Wan models alone, or about how a model is asked."""

from .animate import WanAnimateToVideo
from .bernini import BerniniConditioning
from .caching import EasyCache
from .fun import Wan22FunControlToVideo, WanCameraEmbedding, WanCameraImageToVideo, WanFunControlToVideo
from .guidance import (
    TCFG,
    CFGZeroStar,
    ScaleROPE,
    SkipLayerGuidanceDiT,
    SkipLayerGuidanceDiTSimple,
    UNetTemporalAttentionMultiply,
)
from .phantom import WanPhantomSubjectToVideo
from .svi import WanImageToVideoSVIPro
from .tracks import (
    GenerateTracks,
    WanMoveConcatTrack,
    WanMoveTracksFromCoords,
    WanMoveTrackToVideo,
    WanTrackToVideo,
)
from .windows import ContextWindowsManual, WanContextWindowsManual

__all__ = [
    "TCFG",
    "BerniniConditioning",
    "CFGZeroStar",
    "ContextWindowsManual",
    "EasyCache",
    "GenerateTracks",
    "ScaleROPE",
    "SkipLayerGuidanceDiT",
    "SkipLayerGuidanceDiTSimple",
    "UNetTemporalAttentionMultiply",
    "Wan22FunControlToVideo",
    "WanAnimateToVideo",
    "WanCameraEmbedding",
    "WanCameraImageToVideo",
    "WanContextWindowsManual",
    "WanFunControlToVideo",
    "WanImageToVideoSVIPro",
    "WanMoveConcatTrack",
    "WanMoveTrackToVideo",
    "WanMoveTracksFromCoords",
    "WanPhantomSubjectToVideo",
    "WanTrackToVideo",
]
