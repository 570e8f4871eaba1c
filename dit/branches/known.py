"""Every kind of branch that this version runs."""

from __future__ import annotations

from ..config import DiTConfig
from .animate.face import FaceBranch
from .animate.pose import AnimatePoseBranch
from .audio import (
    DanceBranch,
    HumoBranch,
    PastBranch,
    SpeechBranch,
    SpeechPoseBranch,
    StillBranch,
    TalkBranch,
)
from .branch import Branch, Shapes
from .camera import CameraBranch
from .clip import ClipBranch
from .pose import PoseBranch
from .reference import ReferenceBranch
from .scail import ScailBranch
from .speed import SpeedBranch
from .uni3c import Uni3CBranch
from .vace import VaceBranch

BRANCHES: tuple[type[Branch[DiTConfig]], ...] = (
    ClipBranch, SpeedBranch, TalkBranch, CameraBranch, AnimatePoseBranch, SpeechPoseBranch, SpeechBranch, StillBranch,
    PastBranch, HumoBranch, DanceBranch, ReferenceBranch, ScailBranch, PoseBranch, FaceBranch, VaceBranch, Uni3CBranch,
)  # fmt: skip
"""In the order in which a pass begins with them: what changes the tokens comes before what adds some, and that before
what takes a copy of them."""


def read_branches(tensors: Shapes) -> tuple[Branch[DiTConfig], ...]:
    """The branches in a file of these tensors.

    Raises:
        FileFault: see `Branch.read`.
    """
    found = (kind.read(tensors) for kind in BRANCHES)
    return tuple(branch for branch in found if branch is not None)
