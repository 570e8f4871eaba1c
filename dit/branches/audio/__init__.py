"""What models carry that hear: Wan S2V, HuMo and Wan-Dancer."""

from .dance import DanceBranch
from .humo import HumoBranch
from .past import PastBranch
from .pose import SpeechPoseBranch
from .speech import SpeechBranch
from .still import StillBranch

__all__ = ["DanceBranch", "HumoBranch", "PastBranch", "SpeechBranch", "SpeechPoseBranch", "StillBranch"]
