"""What models carry that hear: Wan S2V, HuMo, InfiniteTalk and Wan-Dancer."""

from .dance import DanceBranch
from .humo import HumoBranch
from .past import PastBranch
from .pose import SpeechPoseBranch
from .speech import SpeechBranch
from .still import StillBranch
from .talk import TalkBranch

__all__ = [
    "DanceBranch",
    "HumoBranch",
    "PastBranch",
    "SpeechBranch",
    "SpeechPoseBranch",
    "StillBranch",
    "TalkBranch",
]
