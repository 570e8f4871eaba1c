"""Nodes that are about Wan models alone, or about how a model is asked."""

from .caching import EasyCache
from .fun import Wan22FunControlToVideo, WanCameraEmbedding, WanCameraImageToVideo, WanFunControlToVideo
from .guidance import CFGZeroStar, ScaleROPE, SkipLayerGuidanceDiT, UNetTemporalAttentionMultiply
from .tracks import (
    GenerateTracks,
    WanMoveConcatTrack,
    WanMoveTracksFromCoords,
    WanMoveTrackToVideo,
    WanTrackToVideo,
)

__all__ = [
    "CFGZeroStar",
    "EasyCache",
    "GenerateTracks",
    "ScaleROPE",
    "SkipLayerGuidanceDiT",
    "UNetTemporalAttentionMultiply",
    "Wan22FunControlToVideo",
    "WanCameraEmbedding",
    "WanCameraImageToVideo",
    "WanFunControlToVideo",
    "WanMoveConcatTrack",
    "WanMoveTrackToVideo",
    "WanMoveTracksFromCoords",
    "WanTrackToVideo",
]
