"""What talking models carry: Wan S2V poses, a sound, a picture and the frames before; HuMo a sound and a picture;
InfiniteTalk what people say."""

from .humo import HumoBranch
from .past import PastBranch
from .pose import SpeechPoseBranch
from .speech import SpeechBranch
from .still import StillBranch
from .talk import TalkBranch

__all__ = ["HumoBranch", "PastBranch", "SpeechBranch", "SpeechPoseBranch", "StillBranch", "TalkBranch"]
