"""What Wan S2V carries beside the trunk: poses, a sound, a picture, and the frames before."""

from .past import PastBranch
from .pose import SpeechPoseBranch
from .speech import SpeechBranch
from .still import StillBranch

__all__ = ["PastBranch", "SpeechBranch", "SpeechPoseBranch", "StillBranch"]
