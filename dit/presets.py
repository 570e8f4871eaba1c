"""The published transformers by name, and when two of them change over."""

from __future__ import annotations

from dataclasses import replace

from .branches.animate.face import FaceBranch
from .branches.animate.pose import AnimatePoseBranch
from .branches.audio import (
    DanceBranch,
    HumoBranch,
    PastBranch,
    SpeechBranch,
    SpeechPoseBranch,
    StillBranch,
    TalkBranch,
)
from .branches.camera import CameraBranch
from .branches.clip import ClipBranch
from .branches.pose import PoseBranch
from .branches.reference import ReferenceBranch
from .branches.scail import ScailBranch
from .branches.uni3c import Uni3CBranch
from .branches.vace import VaceBranch
from .config import DiTConfig

_1_3B = DiTConfig(dim=1536, ffn_dim=8960, heads=12, layers=30)
_5B = DiTConfig(dim=3072, ffn_dim=14336, heads=24, layers=30, in_channels=48, out_channels=48)
_14B = DiTConfig(dim=5120, ffn_dim=13824, heads=40, layers=40)

_CLIP, _CAMERA, _SCAIL_2 = ClipBranch(1280), CameraBranch(), ScailBranch(mask_channels=28)

# Source: Wan-Video/Wan2.1 and Wan-Video/Wan2.2 wan/configs, and the shapes of the published files.
PRESETS = {
    "t2v-1.3B": _1_3B,
    "t2v-14B": _14B,  # and each expert of Wan 2.2 T2V-A14B
    "i2v-14B": replace(_14B, in_channels=36, branches=(_CLIP,)),
    "flf2v-14B": replace(_14B, in_channels=36, branches=(ClipBranch(1280, positions=514),)),
    "i2v-A14B": replace(_14B, in_channels=36),  # each expert of Wan 2.2
    "animate2-14B": replace(_14B, in_channels=36, branches=(_CLIP, PoseBranch())),
    "ti2v-5B": _5B,
    "lucy-edit-5B": replace(_5B, in_channels=96),
    "fun-inp-1.3B": replace(_1_3B, in_channels=36, branches=(_CLIP,)),  # the others have the shapes of i2v
    "fun-inp-5B": replace(_5B, in_channels=100),
    "fun-control-1.3B": replace(_1_3B, in_channels=48, branches=(_CLIP,)),
    "fun-control-14B": replace(_14B, in_channels=48, branches=(_CLIP,)),
    "fun-control-1.1-1.3B": replace(_1_3B, in_channels=48, branches=(_CLIP, ReferenceBranch(16))),
    "fun-control-1.1-14B": replace(_14B, in_channels=48, branches=(_CLIP, ReferenceBranch(16))),
    "fun-control-A14B": replace(_14B, in_channels=52, branches=(ReferenceBranch(16),)),
    "fun-control-5B": replace(_5B, in_channels=148, branches=(ReferenceBranch(48),)),
    "fun-camera-1.3B": replace(_1_3B, in_channels=32, branches=(_CLIP, _CAMERA)),
    "fun-camera-14B": replace(_14B, in_channels=32, branches=(_CLIP, _CAMERA)),
    "fun-camera-A14B": replace(_14B, branches=(_CAMERA,), in_channels=36),
    "animate-14B": replace(_14B, in_channels=36, branches=(_CLIP, AnimatePoseBranch(), FaceBranch(8))),
    "scail-14B": replace(_14B, in_channels=20, branches=(_CLIP, ScailBranch())),
    "scail2-1.3B": replace(_1_3B, in_channels=20, branches=(_CLIP, _SCAIL_2)),
    "scail2-14B": replace(_14B, in_channels=20, branches=(_CLIP, _SCAIL_2)),
    "s2v-14B": replace(_14B, branches=(SpeechPoseBranch(), SpeechBranch(), StillBranch(), PastBranch())),
    "humo-1.7B": replace(_1_3B, branches=(HumoBranch(has_mask=False),)),
    "humo-17B": replace(_14B, in_channels=36, branches=(HumoBranch(),)),
    "dancer-14B": replace(_14B, in_channels=36, branches=(_CLIP, DanceBranch(reference_channels=16))),
    "dancer-14B-without-reference": replace(_14B, in_channels=36, branches=(_CLIP, DanceBranch())),
    "vace-1.3B": replace(_1_3B, branches=(VaceBranch(15),)),
    "vace-14B": replace(_14B, branches=(VaceBranch(8),)),
}
UNI3C_14B = replace(_14B, branches=(Uni3CBranch(20),))
"""A transformer with the control net, which is published by itself."""
INFINITETALK_14B = replace(_14B, branches=(TalkBranch(40),))
"""A transformer with the layers of InfiniteTalk, which are published by themselves."""

_TEXT_BOUNDARY, _IMAGE_BOUNDARY = 875.0, 900.0


def expert_boundary(config: DiTConfig) -> float:
    """The timestep, 0..1000, from which upwards the high-noise expert of Wan 2.2 A14B makes the steps.

    Source: Wan-Video/Wan2.2 wan/configs/wan_t2v_A14B.py and wan_i2v_A14B.py, `boundary` * 1000.
    """
    return _IMAGE_BOUNDARY if config.image_channels else _TEXT_BOUNDARY
