"""Small models with a branch each, and what steers it: more kinds for `cases`."""

from __future__ import annotations

import torch
from torch import Tensor
from wan_director.dit.branches.animate.face import FaceBranch, FaceInput
from wan_director.dit.branches.animate.motion import MotionSizes
from wan_director.dit.branches.animate.pose import AnimatePoseBranch, AnimatePoseInput
from wan_director.dit.branches.audio.pose import SpeechPoseBranch, SpeechPoseInput
from wan_director.dit.branches.audio.speech import SpeechBranch, SpeechInput
from wan_director.dit.branches.audio.still import StillBranch, StillInput
from wan_director.dit.branches.camera import CameraBranch, CameraInput
from wan_director.dit.branches.clip import ClipBranch, ClipInput
from wan_director.dit.branches.pose import PoseBranch, PoseInput
from wan_director.dit.branches.scail import ScailBranch, ScailReference
from wan_director.dit.branches.speed import MotionBucket, SpeedBranch
from wan_director.dit.branches.uni3c import Uni3CBranch, Uni3CInput

Size = tuple[int, int, int]

MOTION = MotionSizes((4, 6), 8, 2, 3, 8)
_FACES = (AnimatePoseBranch(), FaceBranch(1, MOTION, 16, 2))
_SPEECH = (SpeechPoseBranch(), SpeechBranch(1, 32, 3), StillBranch())
KINDS: dict[str, dict] = {
    "camera": {"in_channels": 36, "branches": (CameraBranch(),)},
    "speed": {"branches": (SpeedBranch(),)},
    "animate": {"in_channels": 36, "branches": _FACES},
    "scail": {"in_channels": 20, "branches": (ClipBranch(20, 17), ScailBranch(mask_channels=28))},
    "uni3c": {"branches": (Uni3CBranch(2, 128, 96, 40, 36, 7, 16),)},
    "speech": {"branches": _SPEECH},
    "poses": {"in_channels": 36, "branches": (ClipBranch(20, 17), PoseBranch())},
    "poses, strengths": {"in_channels": 36, "branches": (ClipBranch(20, 17), PoseBranch())},
    "poses, none shown": {"in_channels": 36, "branches": (ClipBranch(20, 17), PoseBranch())},
}


def random(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def steering_of(kind: str, size: Size, seed: int) -> tuple:
    """For one of `KINDS`; every number of it counts."""
    frames, rows, columns = size
    picture = random(1, 16, 1, rows, columns, seed=seed)
    match kind:
        case "camera":
            return (CameraInput(random(1, 24, frames, 8 * rows, 8 * columns, seed=seed)),)
        case "speed":
            return (MotionBucket(70.0),)
        case "animate":
            face = FaceInput(random(1, 3, 13, MOTION.side, MOTION.side, seed=seed + 1).clamp(-1, 1), frames)
            return AnimatePoseInput(random(1, 16, 3, rows, columns, seed=seed)), face
        case "scail":
            masks = [random(1, 28, 1, rows, columns, seed=seed + each) for each in range(2)]
            clip = ClipInput(random(1, 17, 20, seed=seed + 3))
            return clip, ScailReference(picture, masks[0]), ScailReference(-picture, masks[1])
        case "uni3c":
            return (Uni3CInput(random(1, 36, frames, rows, columns, seed=seed), 0.8),)
        case "speech":
            sound = SpeechInput(random(1, 3, 32, 4 * frames, seed=seed), 0, frames)
            poses = SpeechPoseInput(random(1, 16, frames, rows, columns, seed=seed + 1))
            return poses, sound, StillInput(picture, frames)
    strengths = {"poses, strengths": (1.4, 0.6, -1.3)}.get(kind, (1.0, 1.0, 0.0))
    shown = None if kind == "poses, none shown" else random(1, 16, frames - 1, rows, columns, seed=seed)
    text, features = random(1, 8, 24, seed=seed + 1), random(1, 17, 20, seed=seed + 2)
    return ClipInput(random(1, 17, 20, seed=seed + 3)), PoseInput(frames, shown, text, features, *strengths)
