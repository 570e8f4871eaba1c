"""Every kind of branch that this version runs."""

from __future__ import annotations

from ..config import DiTConfig
from .animate.face import FaceBranch
from .animate.pose import PoseBranch
from .branch import Branch, Shapes
from .camera import CameraBranch
from .clip import ClipBranch
from .reference import ReferenceBranch
from .speed import SpeedBranch
from .vace import VaceBranch

BRANCHES: tuple[type[Branch[DiTConfig]], ...] = (
    ClipBranch, SpeedBranch, CameraBranch, PoseBranch, ReferenceBranch, FaceBranch, VaceBranch,
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
