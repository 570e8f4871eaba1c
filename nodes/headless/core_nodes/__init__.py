"""ComfyUI's own nodes that workflows use beside ours, for the command line.

Names, inputs, defaults, outputs and arithmetic are those of ComfyUI v0.33.0. Where its canvas offers the files of a
folder, a path may be given too.
"""

from __future__ import annotations

from .batches import (
    BatchImagesNode,
    BatchMasksNode,
    EmptyImage,
    GetImageSize,
    ImageBatch,
    ImageCrop,
    ImageFromBatch,
    ImageInvert,
    RebatchImages,
    RepeatImageBatch,
)
from .conditioning import (
    CLIPTextEncode,
    CLIPVisionEncode,
    ConditioningAverage,
    ConditioningCombine,
    ConditioningConcat,
    ConditioningSetAreaStrength,
    ConditioningSetMask,
    ConditioningSetTimestepRange,
    ConditioningZeroOut,
)
from .finishing import ColorTransfer, ImageStitch, ImageUpscaleWithModel, UpscaleModelLoader
from .latents import (
    LatentConcat,
    LatentCut,
    LatentCutToBatch,
    LoadLatent,
    SetLatentNoiseMask,
    TrimVideoLatent,
    VAEDecode,
    VAEDecodeTiled,
    VAEEncode,
    VAEEncodeTiled,
)
from .loaders import (
    CLIPLoader,
    CLIPLoaderGGUF,
    CLIPVisionLoader,
    LoraLoader,
    LoraLoaderModelOnly,
    UNETLoader,
    UnetLoaderGGUF,
    VAELoader,
)
from .logic import (
    ComfyAndNode,
    ComfyMathExpression,
    ComfyNotNode,
    ComfyOrNode,
    ComfySwitchNode,
    CreateList,
    CustomCombo,
    EndLoop,
    GetItemFromList,
    PreviewAny,
    PrimitiveBoolean,
    PrimitiveFloat,
    PrimitiveInt,
    PrimitiveString,
    PrimitiveStringMultiline,
    RegexExtract,
    StartLoop,
    StringConcatenate,
    StringReplace,
)
from .masks import ImagePadForOutpaint, ImageToMask, InvertMask, JoinImageWithAlpha, MaskToImage, Painter, SolidMask
from .pictures import Canny, LoadImage, LoadImageMask, PreviewImage, SaveAnimatedWEBP, SaveImage
from .sampling import DESCRIBING as DESCRIBING_A_RUN
from .sampling import RUNNING as RUNNING_A_MODEL
from .saving import SaveVideo
from .scaling import ImageScale, ImageScaleBy, ImageScaleToTotalPixels, ResizeImageMaskNode
from .sounds import AudioConcat, EmptyAudio, LoadAudio, TrimAudioDuration
from .videos import CreateVideo, GetVideoComponents, LoadVideo, VideoSlice
from .wan import (
    TCFG,
    ARVideoI2V,
    AudioEncoderEncode,
    AudioEncoderLoader,
    BerniniConditioning,
    CFGZeroStar,
    ContextWindowsManual,
    EasyCache,
    EmptyARVideoLatent,
    GenerateTracks,
    ModelPatchLoader,
    SCAIL2ColoredMask,
    ScaleROPE,
    SkipLayerGuidanceDiT,
    SkipLayerGuidanceDiTSimple,
    UNetTemporalAttentionMultiply,
    Wan22FunControlToVideo,
    WanAnimate2Cache,
    WanAnimate2ToVideo,
    WanAnimateToVideo,
    WanCameraEmbedding,
    WanCameraImageToVideo,
    WanContextWindowsManual,
    WanDancerEncodeAudio,
    WanDancerPadKeyframes,
    WanDancerPadKeyframesList,
    WanDancerVideo,
    WanFunControlToVideo,
    WanHuMoImageToVideo,
    WanImageToVideoSVIPro,
    WanInfiniteTalkToVideo,
    WanMoveConcatTrack,
    WanMoveTracksFromCoords,
    WanMoveTrackToVideo,
    WanPhantomSubjectToVideo,
    WanSCAILToVideo,
    WanSoundImageToVideo,
    WanSoundImageToVideoExtend,
    WanTrackToVideo,
    WanUni3CControlnetApply,
)
from .wan_videos import (
    EmptyHunyuanLatentVideo,
    Wan22ImageToVideoLatent,
    WanFirstLastFrameToVideo,
    WanFunInpaintToVideo,
    WanImageToVideo,
    WanVaceToVideo,
)

_WITH_MODELS = (
    UNETLoader, UnetLoaderGGUF, CLIPLoader, CLIPLoaderGGUF, VAELoader, CLIPVisionLoader,
    LoraLoaderModelOnly, LoraLoader, CLIPTextEncode, CLIPVisionEncode,
    WanImageToVideo, WanFirstLastFrameToVideo, WanFunInpaintToVideo, WanVaceToVideo, Wan22ImageToVideoLatent,
    WanFunControlToVideo, Wan22FunControlToVideo, WanCameraImageToVideo,
    WanTrackToVideo, WanMoveTrackToVideo, BerniniConditioning, WanAnimateToVideo, WanAnimate2ToVideo, WanAnimate2Cache,
    WanPhantomSubjectToVideo, WanSCAILToVideo, ARVideoI2V,
    AudioEncoderLoader, AudioEncoderEncode, WanSoundImageToVideo, WanSoundImageToVideoExtend,
    WanHuMoImageToVideo, WanDancerVideo, ModelPatchLoader, WanUni3CControlnetApply, WanInfiniteTalkToVideo,
    CFGZeroStar, TCFG, SkipLayerGuidanceDiT, SkipLayerGuidanceDiTSimple, UNetTemporalAttentionMultiply, ScaleROPE,
    EasyCache, ContextWindowsManual, WanContextWindowsManual, UpscaleModelLoader, ImageUpscaleWithModel,
    *RUNNING_A_MODEL, VAEDecode, VAEDecodeTiled, VAEEncode, VAEEncodeTiled,
)  # fmt: skip

_NODES = (
    *_WITH_MODELS,
    *DESCRIBING_A_RUN,
    ConditioningCombine, ConditioningConcat, ConditioningAverage, ConditioningZeroOut, ConditioningSetTimestepRange,
    ConditioningSetMask, ConditioningSetAreaStrength,
    WanImageToVideoSVIPro,
    WanCameraEmbedding, GenerateTracks, WanMoveConcatTrack, WanMoveTracksFromCoords, SCAIL2ColoredMask,
    WanDancerEncodeAudio, WanDancerPadKeyframes, WanDancerPadKeyframesList,
    EmptyHunyuanLatentVideo, EmptyARVideoLatent,
    TrimVideoLatent, LatentConcat, LatentCut, LatentCutToBatch, SetLatentNoiseMask, LoadLatent,
    LoadImage, LoadImageMask, SaveImage, SaveAnimatedWEBP, PreviewImage,
    ImageFromBatch, ImageBatch, BatchImagesNode, BatchMasksNode, RebatchImages, RepeatImageBatch, EmptyImage,
    GetImageSize, ImageInvert, ImageCrop, Canny, ColorTransfer, ImageStitch,
    ImageScale, ImageScaleBy, ImageScaleToTotalPixels, ResizeImageMaskNode,
    MaskToImage, ImageToMask, SolidMask, InvertMask, JoinImageWithAlpha, ImagePadForOutpaint,
    LoadVideo, VideoSlice, GetVideoComponents, CreateVideo, SaveVideo, LoadAudio, TrimAudioDuration, EmptyAudio,
    AudioConcat, Painter,
    PrimitiveInt, PrimitiveFloat, PrimitiveBoolean, PrimitiveString, PrimitiveStringMultiline,
    StringConcatenate, StringReplace, RegexExtract, CustomCombo, PreviewAny, ComfySwitchNode, ComfyNotNode,
    ComfyAndNode, ComfyOrNode, ComfyMathExpression,
    StartLoop, EndLoop, CreateList, GetItemFromList,
)  # fmt: skip

CORE_NODES = {node.define_schema().node_id: node for node in _NODES}
"""Name in a workflow -> class."""
LIGHT_CORE_NODES = frozenset(CORE_NODES) - {node.define_schema().node_id for node in _WITH_MODELS}
"""Names of those that run no model."""
