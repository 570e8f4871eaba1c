"""What the places that errors speak of are called on the canvas: the titles of our nodes."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ...common.errors import WanDirectorError
from ...common.places import Place
from ...dit.branches.pose import POSES
from ...media.video_reading import LOAD_VIDEO
from ...model_loading.kinds import (
    AUDIO_ENCODER,
    CLIP_VISION,
    DIT,
    INFINITETALK_MODULE,
    SPEED_MODULE,
    TEXT_ENCODER,
    UNI3C_MODULE,
    VACE_MODULE,
    VAE,
)  # fmt: skip
from ...model_loading.pairing import (
    ANIMATE,
    DANCE,
    FUN_CONTROL,
    HUMO,
    SCAIL_CONDITIONING,
    SOURCE_VIDEO,
    SPEECH,
    START_IMAGE,
)
from ...model_loading.recognition.refusals import LOAD_LORA
from ...sampling.causal.order import CAUSAL
from ...sampling.experts import EXPERTS

TITLES: Mapping[Place, str] = MappingProxyType({
    DIT.place: "Load Wan Model",
    SPEED_MODULE.place: "Load Wan Model as its speed_module",
    UNI3C_MODULE.place: "Load Wan Uni3C",
    INFINITETALK_MODULE.place: "Load Wan InfiniteTalk",
    VACE_MODULE.place: "Load Wan Model as its vace_module",
    VAE.place: "Load Wan VAE",
    TEXT_ENCODER.place: "Load Wan Text Encoder",
    CLIP_VISION.place: "Load Wan CLIP Vision",
    AUDIO_ENCODER.place: "Load Wan Audio Encoder",
    LOAD_LORA: "Wan LoRA",
    LOAD_VIDEO: "Wan Load Video",
    ANIMATE: "Wan Animate",
    START_IMAGE: "Wan Image To Video",
    FUN_CONTROL: "Wan Fun Control",
    SCAIL_CONDITIONING: "Wan SCAIL",
    POSES: "Wan Animate 2",
    SOURCE_VIDEO: "Wan Source Video",
    SPEECH: "Wan Speech To Video",
    HUMO: "Wan HuMo",
    DANCE: "Wan Dancer",
    EXPERTS: "Wan Two Experts",
    CAUSAL: "Wan Causal",
})  # fmt: skip
"""Place -> title of the node."""


def sentence(error: Exception) -> str:
    """What a user is told of an error."""
    return str(error.naming(TITLES) if isinstance(error, WanDirectorError) else error)
