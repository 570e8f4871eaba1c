"""How a run computes: one frozen value that is passed to the model with every call, and never kept by it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..common.errors import InvalidInputError
from ..common.records import record
from ..common.streaming import IN_PLACE, BlockStream, WayBack
from ..weights.layers import Multiplication
from .adapters.stand_ins import again_with_stand_ins
from .attention import Attention, Grid, Pattern, every_token, sdpa_attention
from .branches.pose_memory import NO_POSE_MEMORY, PoseMemory
from .tokens import MATRIX_RUN

OnBlock = Callable[[int, Sequence[Tensor]], None]
"""Told of a block that has run: its place in the pass, and what it gave, [B, L, D], for each of the passes that go
together and did not skip it. It may raise to end the pass; it must not keep or change the tokens."""


class LookBack(Protocol):
    """Keys and values that the tokens of a video look at, of their own [B, L, N, D]; `heads`: which of all they are."""

    def __call__(self, keys: Tensor, values: Tensor, heads: slice = ...) -> tuple[Tensor, Tensor]: ...


ALL_HEADS = slice(None)


def nothing_before(keys: Tensor, values: Tensor, heads: slice = ALL_HEADS) -> tuple[Tensor, Tensor]:
    """The default `look_back`: their own alone."""
    return keys, values


AfterAttention = Callable[[Tensor], Tensor]
"""Gives what a block's tokens [B, L, D] become between its attention and its feed-forward layers."""


def leave_tokens(tokens: Tensor) -> Tensor:
    """The default `after_attention`: the tokens themselves."""
    return tokens


OnLook = Callable[[Tensor, Tensor, slice], None]
"""Told of a video that looks at itself: queries and keys [B, L, some heads, D], turned, and which heads those are. It
must not keep or change them."""


def ignore_look(queries: Tensor, keys: Tensor, heads: slice) -> None:
    """The default `on_look`: nobody asks what the tokens look at."""


class SharedAttention(Protocol):
    """Makes of a kernel one that sees the tokens of all devices that share a pass."""

    def __call__(self, attention: Callable[..., Tensor], /, *beside: Tensor) -> Attention:
        """`beside`: what every token looks at, too, [.., N, D]; the kernel gets some of its heads behind q, k, v."""
        ...


def unshared(attention: Callable[..., Tensor], *beside: Tensor) -> Attention:
    """The default `shared`: the tokens of a pass are all here."""
    return (lambda q, k, v: attention(q, k, v, *beside)) if beside else attention


def ignore_block(index: int, tokens: Sequence[Tensor]) -> None:
    """The default `on_block`: nobody watches the blocks."""


class Lean(NamedTuple):
    """How a block keeps almost nothing beside its tokens, see `lean.lean_pass`.

    `groups`: of heads, attended one after the other. `keys_in_groups`: the keys of a group are made when it is its
    turn, after all keys have been made once to know their lengths: the least memory, for one matrix more. `run`: tokens
    at a time everywhere else.
    """

    groups: int
    keys_in_groups: bool = False
    run: int = MATRIX_RUN // 2


def lean_ways(heads: int) -> tuple[Lean | None, ...]:
    """The ways to run a block of a model with so many heads: the fastest, and two that keep ever less.

    Groups hold four heads of forty, which leaves a kernel enough to do at once.
    """
    groups = -(-heads // -(-heads // _GROUPS))
    return None, Lean(groups), Lean(groups, keys_in_groups=True)


_GROUPS = 10


@record
class Execution:
    """How to compute, where the result is the same or nearly so. Two runs with different ones may share a model.

    Attributes:
        attention: the kernel.
        feed_forward_run: tokens that the feed-forward layers take at a time where they may overwrite, 0 for the usual
            number. What lies between those layers is several times as wide as the tokens; shorter runs keep it small.
        multiply: whether matrices that may be multiplied in fp8 are.
        stream: brings the blocks, see `memory.policy`.
        may_overwrite: whether the tokens on their way may be overwritten, which takes several buffers of tokens less
            memory. Not where gradients are wanted.
        lean: how a block keeps still less, where it may overwrite; None for the fastest way.
        checkpoints: whether to keep nothing of a block but its input for the backward pass, and run it again there.
        part_checkpoints: whether the parts of such a block are then run again one by one, so that only what is kept of
            one of them is there at a time, for about a quarter more time. The gradients are the same to the bit.
        way_back: brings the weights and the input of a block that is run again.
        on_block: told of each block that has run.
        after_attention: what stands in a block between its attention and its feed-forward layers.
        pattern: which tokens of a video look at which.
        over_video: the kernel of a video's attention to itself in one pass; None for `attention`.
        shared: what makes that kernel see the tokens of other devices, too.
        look_back: what a block's tokens look at beside themselves: what was before them in time.
        on_look: told of what the tokens of a block look at.
        pose_memory: what is kept of a pose video's way through the blocks, from pass to pass.

    Raises:
        InvalidInputError: tokens that a block is run again with may be overwritten, a lean one may not overwrite, or
            parts are run again of a block that is not.
    """

    attention: Attention = sdpa_attention
    feed_forward_run: int = 0
    multiply: Multiplication = "dense"
    stream: BlockStream = iter
    may_overwrite: bool = False
    lean: Lean | None = None
    checkpoints: bool = False
    part_checkpoints: bool = False
    way_back: WayBack = IN_PLACE
    on_block: OnBlock = ignore_block
    after_attention: AfterAttention = leave_tokens
    pattern: Pattern = every_token
    over_video: Attention | None = None
    shared: SharedAttention = unshared
    look_back: LookBack = nothing_before
    on_look: OnLook = ignore_look
    pose_memory: PoseMemory = NO_POSE_MEMORY

    def __post_init__(self) -> None:
        if self.checkpoints and self.may_overwrite:
            raise InvalidInputError(
                "Blocks that are run again for the backward pass have to find their tokens as they were, but "
                "may_overwrite is true. Set one of checkpoints and may_overwrite to false."
            )
        if self.part_checkpoints and not self.checkpoints:
            raise InvalidInputError(
                "Parts of a block are run again only where the block is, but checkpoints is false. Set it to true, or "
                "part_checkpoints to false."
            )
        if self.lean is not None and not self.may_overwrite:
            raise InvalidInputError(
                "A lean block writes into its tokens, but may_overwrite is false. Set it to true, or lean to None."
            )

    @property
    def video_attention(self) -> Attention:
        """The kernel of a video's attention to itself."""
        return self.shared(self.attention if self.over_video is None else self.over_video)

    def attend_video(self, q: Tensor, k: Tensor, v: Tensor, heads: slice = ALL_HEADS) -> Tensor:
        """What the tokens of a video make of each other and of what was before: q, k, v [B, L, some heads, D]."""
        self.on_look(q, k, heads)
        return self.video_attention(q, *self.look_back(k, v, heads))

    def looking_back(self, look_back: LookBack) -> Execution:
        """How a block computes whose tokens look back.

        Raises:
            InvalidInputError: its attention goes by places in the video.
        """
        if self.pattern is not every_token:
            raise InvalidInputError(
                "The attention is sparse in the video, and a causal model looks back at frames that lie outside of "
                "what it sees at once. Choose attention 'sdpa'."
            )
        return replace(self, look_back=look_back)

    def in_pass(self, grid: Grid, timesteps: Tensor) -> Execution:
        """How the blocks of one pass compute, by the grid of its video's tokens and its timesteps [B, G]."""
        kernel = self.pattern(grid, timesteps)
        return self if kernel is None else replace(self, over_video=kernel)

    def run(self, block: nn.Module, *inputs: Any) -> Any:
        """What a block gives for `inputs`, computed in this way, which it gets behind them."""
        if not self.checkpoints:
            return block(*inputs, self)
        with self.way_back.keeping(block):
            contexts = partial(self.way_back.contexts, block)
            return checkpoint(block, *inputs, self, use_reentrant=False, context_fn=contexts)

    def run_part(self, owner: nn.Module, part: Callable[..., Tensor], *inputs: Any) -> Tensor:
        """What a part of a block gives for `inputs`; a part keeps no state and writes into nothing that it is given.

        `owner`: has the parameters that it takes.
        """
        if not self.part_checkpoints:
            return part(*inputs)
        return checkpoint(part, *inputs, use_reentrant=False, context_fn=again_with_stand_ins(owner))

    def run_in_parts(self, owner: nn.Module, part: Callable[..., Tensor], *tokens: Tensor, run: int) -> Tensor:
        """What a part of a block gives that treats every token by itself, `run` of them at a time: [B, L, ...].

        In the same runs whether parts are run again or not, so that gradients are the same to the bit.

        Args:
            tokens: each [B or 1, L, ...].
        """
        runs = zip(*(each.split(run, dim=1) for each in tokens))
        return torch.cat([self.run_part(owner, part, *each) for each in runs], dim=1)


DEFAULT_EXECUTION = Execution()
"""Exact, and safe to go back through: what a bare call of the model does."""


def more_exact(execution: Execution) -> tuple[Execution, str] | None:
    """The execution without the first thing in it that is fast but not exact, and what that is for people, if any."""
    if execution.attention is not sdpa_attention or execution.pattern is not every_token:
        return replace(execution, attention=sdpa_attention, pattern=every_token), "with attention 'sdpa'"
    if execution.multiply == "fp8":
        return replace(execution, multiply="dense"), "without fp8 compute"
    return None
