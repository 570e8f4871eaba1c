"""How the steps of a run are made: with which questions, what the model sees at once, and what is remembered."""

from __future__ import annotations

from ...common.records import record
from ...dit.inputs import Steering
from ...dit.rope import AS_TRAINED, TokenPlaces
from ...sampling.cache import NO_CACHE, Cache
from ...sampling.causal.order import AT_ONCE, Order
from ...sampling.guidance import CFG, OfScale
from ...sampling.windows import WHOLE_CLIP, Windows
from ..poses.keeping import KEPT_IN_RAM, PoseKeeping


@record
class StepPolicies:
    """Each is off by default: an object that does nothing, or plain classifier-free guidance.

    Attributes:
        guidance: from the guidance scale of a run to the guidance.
        windows: what of the clip the model sees at once.
        cache: what is remembered between steps.
        places: where the model sees its tokens in time and space.
        amplify: how far a start image stands from the grey frames, see `dit.conditioning.amplified`; 1 leaves it.
        steering: what steers branches in all passes, beside what the prompts bring.
        order: in which the frames are made.
        poses: what is kept of a pose video's way through the blocks.
    """

    guidance: OfScale = CFG
    windows: Windows = WHOLE_CLIP
    cache: Cache = NO_CACHE
    places: TokenPlaces = AS_TRAINED
    amplify: float = 1.0
    steering: tuple[Steering, ...] = ()
    order: Order = AT_ONCE
    poses: PoseKeeping = KEPT_IN_RAM


WHOLE_STEPS = StepPolicies()
"""The model sees the whole clip, and nothing is remembered."""
