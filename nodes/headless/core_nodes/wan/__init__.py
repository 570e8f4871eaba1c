"""Nodes that are about Wan models alone, or about how a model is asked."""

from .animate import WanAnimateToVideo
from .animate2 import WanAnimate2Cache, WanAnimate2ToVideo
from .bernini import BerniniConditioning
from .caching import EasyCache
from .causal import ARVideoI2V, EmptyARVideoLatent
from .dancing import WanDancerEncodeAudio, WanDancerPadKeyframes, WanDancerPadKeyframesList, WanDancerVideo
from .fun import Wan22FunControlToVideo, WanCameraEmbedding, WanCameraImageToVideo, WanFunControlToVideo
from .guidance import (
    TCFG,
    CFGZeroStar,
    ScaleROPE,
    SkipLayerGuidanceDiT,
    SkipLayerGuidanceDiTSimple,
    UNetTemporalAttentionMultiply,
)
from .patches import ModelPatchLoader, WanInfiniteTalkToVideo, WanUni3CControlnetApply
from .phantom import WanPhantomSubjectToVideo
from .scail import SCAIL2ColoredMask, WanSCAILToVideo
from .sound import (
    AudioEncoderEncode,
    AudioEncoderLoader,
    WanHuMoImageToVideo,
    WanSoundImageToVideo,
    WanSoundImageToVideoExtend,
)
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
    "ARVideoI2V",
    "AudioEncoderEncode",
    "AudioEncoderLoader",
    "BerniniConditioning",
    "CFGZeroStar",
    "ContextWindowsManual",
    "EasyCache",
    "EmptyARVideoLatent",
    "GenerateTracks",
    "ModelPatchLoader",
    "SCAIL2ColoredMask",
    "ScaleROPE",
    "SkipLayerGuidanceDiT",
    "SkipLayerGuidanceDiTSimple",
    "UNetTemporalAttentionMultiply",
    "Wan22FunControlToVideo",
    "WanAnimateToVideo",
    "WanAnimate2Cache",
    "WanAnimate2ToVideo",
    "WanCameraEmbedding",
    "WanCameraImageToVideo",
    "WanContextWindowsManual",
    "WanDancerEncodeAudio",
    "WanDancerPadKeyframes",
    "WanDancerPadKeyframesList",
    "WanDancerVideo",
    "WanFunControlToVideo",
    "WanHuMoImageToVideo",
    "WanImageToVideoSVIPro",
    "WanInfiniteTalkToVideo",
    "WanMoveConcatTrack",
    "WanMoveTrackToVideo",
    "WanMoveTracksFromCoords",
    "WanPhantomSubjectToVideo",
    "WanSCAILToVideo",
    "WanSoundImageToVideo",
    "WanSoundImageToVideoExtend",
    "WanTrackToVideo",
    "WanUni3CControlnetApply",
]
