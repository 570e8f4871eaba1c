"""What people are told of prompts of which one carries what the other does not."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from ....common.log import logger
from ....sampling.ask import Ask, Side
from ....sampling.prompts import Prompts
from ..asked import Sides

_BOTH: tuple[Side, Side] = ("positive", "negative")


def warn_of_one_side(asked: Sequence[Sequence[Ask]], sides: Sides) -> None:
    """Tells where only one of both prompts carries something that steers the model, and both are asked.

    That can be wished, since guidance then leads towards it; most often an output of a node was left unconnected.
    """
    if set(_BOTH) - {ask.side for ask in chain(*asked)}:
        return
    carried = {side: _carried(sides[side]) for side in _BOTH}
    for side, other in (_BOTH, _BOTH[::-1]):
        for words in carried[side]:
            if words not in carried[other]:
                logger.warning(
                    "The %s prompt carries %s and the %s one does not, so that guidance leads %s it. Connect both "
                    "outputs of the node that gives it, unless that is wished.",
                    side, words, other, "towards" if side == "positive" else "away from",
                )  # fmt: skip


def _carried(prompts: Prompts) -> dict[str, None]:
    """What steers a model in any part of the run, and the clips that it is made from, in words and in order."""
    conditionings = [part.conditioning for part in prompts.parts]
    kinds = [item.branch for each in conditionings for item in each.items if item.branch is not None]
    steered = [f"what steers {kind.words}" for kind in kinds]
    sources = [clip.words for each in conditionings for clip in each.in_context if clip.is_source]
    return dict.fromkeys([*steered, *sources])
