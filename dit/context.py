"""What all blocks of one pass see beside the tokens."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple, Protocol

from torch import Tensor, nn

if TYPE_CHECKING:
    from .execution import Execution


class Avoided(NamedTuple):
    """A second text that cross-attention leads away from: normalized attention guidance.

    With Z+ and Z- what attention makes of the text and of this one: G = scale * Z+ - (scale - 1) * Z-, made shorter
    where |G|1 of a token is above `tau` times |Z+|1, and `alpha` of it mixed with the rest of Z+.

    Attributes:
        text: [B, text_tokens, text_dim]; for the blocks [B, text_tokens, D] in the compute dtype.
        scale: how far away; 1 leaves Z+.
        alpha: 0..1.
        tau: 1 or more.

    Source: Chen et al., "Normalized Attention Guidance", arXiv 2505.21179, equations 7 to 9.
    """

    text: Tensor
    scale: float
    alpha: float
    tau: float


class TextTravel(NamedTuple):
    """Texts of which each has its time in the clip: a latent frame sees its own, and several where they cross over.

    What attention makes of each is mixed by its share, so that a pass of one text and one of many cost nearly the same.

    Attributes:
        texts: each [1 or B, text_tokens, text_dim].
        shares: [texts, T], float32, at least 0, with a sum of 1 in each latent frame.
    """

    texts: tuple[Tensor, ...]
    shares: Tensor


class TextSpan(NamedTuple):
    """A text for some of the frames of tokens.

    text [B, text_tokens, D]; the frames from `start` to `stop` (without it); shares [1, frames, 1, 1, 1] in float32, or
    None where the text is theirs alone.
    """

    text: Tensor
    start: int
    stop: int
    shares: Tensor | None


class SpansInTime(NamedTuple):
    """The texts of all `frames` of tokens; every frame is in one or more of the spans."""

    spans: tuple[TextSpan, ...]
    frames: int


class TokenPart(NamedTuple):
    """Which tokens of a whole sequence there are: from the one at `start` on, of `length` in all."""

    start: int
    length: int


class PoseTokens(NamedTuple):
    """A second stream of tokens, of a pose video, as it enters a block: each frame of the video sees its own.

    tokens [1 or B, (F - 1) * n, D], n for each of the video's F frames of tokens but the first, which is a picture;
    modulation [1, 1, 6, D] float32 and rope [1, (F - 1) * n, 1, head_dim / 2] are theirs. Their values count `strength`
    times.
    """

    tokens: Tensor
    modulation: Tensor
    rope: Tensor
    strength: float = 1.0


class Posed(NamedTuple):
    """How the frames of a video that begins with a picture look at themselves, and at poses (Wan-Animate-2).

    Attributes:
        frames: of tokens, the picture's included.
        picture_strength: how much the values of the picture's tokens count.
        second_bias: added to the logits of the keys of the second frame, the first one of the video; 0 is off.
        poses: as they enter the block; None where nothing is shown.
        is_part: whether the tokens are those of one device of several.
    """

    frames: int
    picture_strength: float = 1.0
    second_bias: float = 0.0
    poses: PoseTokens | None = None
    is_part: bool = False


class FramePiece(NamedTuple):
    """Some tokens of a sequence, `rows`, which are all or some of those of a few `frames`."""

    frames: slice
    rows: slice


def frame_pieces(part: range, before: int, of_frame: int) -> Iterator[FramePiece]:
    """A part of a sequence of tokens, cut where its first and its last frame are not whole.

    Args:
        part: the tokens' numbers in the whole sequence; `rows` count from its first one.
        before: tokens before those of frames, which are in no piece.
        of_frame: tokens of a frame.
    """
    start, stop = max(part.start - before, 0), part.stop - before
    first, last = -(-start // of_frame), stop // of_frame
    cuts = [start, stop] if first > last else [start, first * of_frame, last * of_frame, stop]
    for one, other in zip(cuts, cuts[1:]):
        if one < other:
            rows = slice(one + before - part.start, other + before - part.start)
            yield FramePiece(slice(one // of_frame, -(-other // of_frame)), rows)


class Layered(Protocol):
    """A block, as what is heard finds its layers in it."""

    def get_submodule(self, target: str) -> nn.Module:
        """A layer by its name."""
        ...


class Heard(Protocol):
    """What is heard in a pass, by the layers for it that a branch has inside each block."""

    def begin(self, execution: Execution) -> tuple[Heard, Execution]:
        """What is heard in one block, and how that computes so that it can be."""
        ...

    def added(self, block: Layered, tokens: Tensor, execution: Execution) -> Tensor:
        """The tokens [B, L, D] of a block, which may be overwritten if the execution says so, with what they hear."""
        ...


class Context(NamedTuple):
    """What every block of one forward pass sees beside the tokens.

    text [B, text_tokens, D] and image [B, image tokens, D] or None are in the compute dtype; modulation [B, G, 6, D]
    float32 comes from the timesteps, one for each of G runs of tokens (G is 1, or the number of latent frames): equal
    ones, unless `runs` has their lengths, of which the first is then without noise; rope [1, L, 1, head_dim / 2] comes
    from the tokens' places. The text may be led away from another one. Where texts take turns in time, `in_time` stands
    in place of the text. `posed` is of Wan-Animate-2, and its poses are others in each block. Where the tokens are not
    all, but those of one device of several, `part` says which.
    """

    modulation: Tensor
    rope: Tensor
    text: Tensor
    image: Tensor | None
    avoided: Avoided | None = None
    in_time: SpansInTime | None = None
    runs: tuple[int, ...] | None = None
    time: Tensor | None = None
    posed: Posed | None = None
    part: TokenPart | None = None
    heard: Heard | None = None

    def of_tokens(self, tokens: slice, length: int) -> Context:
        """What the blocks see beside some of `length` tokens, which are those of one device."""
        modulation, runs, posed = self.modulation, self.runs, self.posed
        groups = modulation.shape[1]
        if groups > 1:
            ends = list(accumulate(runs or (length // groups,) * groups, initial=0))
            cut = [min(end, tokens.stop) - max(start, tokens.start) for start, end in zip(ends, ends[1:])]
            own = [number for number, count in enumerate(cut) if count > 0]
            modulation, runs = modulation[:, own[0] : own[-1] + 1], tuple(cut[number] for number in own)
        return self._replace(
            modulation=modulation,
            runs=runs,
            rope=self.rope[:, tokens],
            posed=None if posed is None else posed._replace(is_part=True),
            part=TokenPart(tokens.start, length),
        )

    def whole_of(self, part: slice, length: int) -> tuple[range, int]:
        """The numbers of some of `length` tokens in the whole sequence, and how long that is."""
        start, whole = (0, length) if self.part is None else self.part
        return range(start + part.start, start + part.stop), whole
