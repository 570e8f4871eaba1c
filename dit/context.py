"""What all blocks of one pass see beside the tokens."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


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


class Context(NamedTuple):
    """What every block of one forward pass sees beside the tokens.

    text [B, text_tokens, D] and image [B, image tokens, D] or None are in the compute dtype; modulation [B, G, 6, D]
    float32 comes from the timesteps, one for each of G runs of tokens (G is 1, or the number of latent frames): equal
    ones, unless `runs` has their lengths, of which the first is then without noise; rope [1, L, 1, head_dim / 2] comes
    from the tokens' places. The text may be led away from another one. Where texts take turns in time, `in_time` stands
    in place of the text.
    """

    modulation: Tensor
    rope: Tensor
    text: Tensor
    image: Tensor | None
    avoided: Avoided | None = None
    in_time: SpansInTime | None = None
    runs: tuple[int, ...] | None = None
