"""How many bytes the transformer takes: its weights, and what one pass holds beside them. Arithmetic, no tensors.

The steps of a pass are those of `block`; tests compare the sum with what the meta device counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from .branches.branch import NO_STEERING, PassShape, WeightCount
from .branches.pose import PoseBranch
from .config import PATCH, DiTConfig
from .execution import Lean
from .tokens import DEVICE_ELEMENTS, LEAN_PARTS, matrix_run_of


class Unpacking(NamedTuple):
    """What a quantised matrix takes while it is used: whether it is made whole, and `scratch` bytes meanwhile."""

    is_made: bool
    scratch: int


PLAIN = Unpacking(is_made=False, scratch=0)
FP8 = Unpacking(is_made=True, scratch=0)
BLOCKWISE = Unpacking(is_made=True, scratch=7 << 24)
"""Of formats with a scale per few numbers (GGUF, four bits), which are unpacked 2^24 numbers at a time."""


def pass_shape(
    latent: tuple[int, int, int, int], steering: Mapping[type, int] = NO_STEERING, together: int = 1, beside: int = 0
) -> PassShape:
    """The pass for a latent of (batch, frames, height, width), see `PassShape`."""
    batch, frames, height, width = latent
    return PassShape(batch, frames, -(-height // PATCH[1]), -(-width // PATCH[2]), steering, together, beside)


def with_tokens_before(config: DiTConfig, shape: PassShape) -> PassShape:
    """The pass with the tokens that branches put before those of the video: whole frames, and others."""
    given = [(branch, shape.steering.get(type(branch), 0)) for branch in config.branches]
    frames = sum(branch.frames_before(count) for branch, count in given)
    others = sum(branch.tokens_before(shape, count) for branch, count in given)
    return shape._replace(frames=shape.frames + frames, beside=shape.beside + others)


def block_weights(config: DiTConfig) -> list[WeightCount]:
    """Of every block that a pass can run, in the order of `WanDiT.streamed_blocks`."""
    dim, ffn = config.dim, config.ffn_dim
    squares = 10 if config.image_tokens else 8
    matrix = squares * dim**2 + 2 * dim * ffn
    rows = squares * dim + ffn + dim
    norms = 2 + 2 + 2 + bool(config.image_tokens)
    inside = [branch.inside_weights(config) for branch in config.branches]
    block = WeightCount(
        matrix + sum(each.matrix for each in inside),
        rows + sum(each.rows for each in inside),
        rows + norms * dim + 6 * dim + sum(each.other for each in inside),
    )
    own = {type(branch): iter(branch.block_weights(config, block)) for branch in config.branches}
    return [block if place.branch is None else next(own[place.branch]) for place in config.block_order()]


def other_weights(config: DiTConfig) -> int:
    """Numbers outside the blocks."""
    dim, patch = config.dim, PATCH[0] * PATCH[1] * PATCH[2]
    embedding = (config.in_channels * patch + 1) * dim
    text = (config.text_dim + 1) * dim + (dim + 1) * dim
    time = (config.freq_dim + 1) * dim + (dim + 1) * dim + (dim + 1) * 6 * dim
    head = (dim + 1) * config.out_channels * patch + 2 * dim
    return embedding + text + time + head + sum(branch.other_weights(config) for branch in config.branches)


def pass_bytes(
    config: DiTConfig,
    shape: PassShape,
    *,
    itemsize: int = 2,
    unpacking: Unpacking = PLAIN,
    run: int = 0,
    fp32_residual: bool = False,
    lean: Lean | None = None,
) -> int:
    """The most that a pass holds at once beside the weights.

    Args:
        shape: of the video.
        itemsize: bytes of a number of the dtype of computation.
        unpacking: how the matrices of the blocks are stored.
        run: tokens that the feed-forward layers take at a time; 0 for the usual number.
        fp32_residual: see `WanDiT`; what enters a block then has 4 bytes a number.
        lean: how little a block keeps.
    """
    ends = _ends_bytes(config, shape._replace(beside=0), itemsize, fp32_residual)
    shape = with_tokens_before(config, shape)
    buffer = shape.tokens * config.dim * (4 if fp32_residual else itemsize)
    kept = shape.together * (buffer + _context_bytes(config, shape, itemsize))
    if lean is None:
        block = _block_bytes(config, shape, itemsize, unpacking, run)
    else:
        block = _LeanBlock(config, shape, itemsize, unpacking, run, fp32_residual, lean).size_bytes
    starting = 0
    for branch in config.branches:
        given = shape.steering.get(type(branch), 0)
        if given:
            own = branch.pass_bytes(shape, given, buffer)
            kept, block, starting = kept + own.kept, max(block, block + own.in_block), max(starting, own.starting)
    return kept + max(block, starting, ends)


class Share(NamedTuple):
    """What one of several devices has of a step: so many of the passes, each with so many `devices`."""

    devices: int
    passes: int


def shared_pass_bytes(
    config: DiTConfig,
    shape: PassShape,
    share: Share,
    *,
    itemsize: int = 2,
    unpacking: Unpacking = PLAIN,
    run: int = 0,
    fp32_residual: bool = False,
    lean: Lean | None = None,
) -> int:
    """As `pass_bytes`, the most on each of several devices.

    Every one begins and ends with all tokens of all passes of a step, `shape.together` of them.
    """
    ends = _ends_bytes(config, shape._replace(beside=0), itemsize, fp32_residual)
    shape = with_tokens_before(config, shape)
    number = 4 if fp32_residual else itemsize
    buffer = shape.tokens * config.dim * number
    part = shape._replace(frames=1, rows=1, columns=-(-shape.length // share.devices), beside=0)
    own = part.tokens * config.dim * number if share.devices > 1 else 0
    kept = shape.together * (buffer + _context_bytes(config, shape, itemsize)) + share.passes * own
    if lean is None:
        block = _block_bytes(config, part, itemsize, unpacking, run)
    else:
        block = _LeanBlock(config, part, itemsize, unpacking, run, fp32_residual, lean).size_bytes
    if share.devices > 1:  # what was there before an exchange, beside what has come; of a group of heads where lean
        exchanged = part.tokens * config.dim * itemsize
        block += 4 * exchanged if lean is None else 6 * exchanged // lean.groups
    block += 4 * _poses(shape, shape.tokens * config.dim * itemsize).whole  # every device has all of their keys
    starting = 0
    for branch in config.branches:
        given = shape.steering.get(type(branch), 0)
        if given:
            of_branch = branch.pass_bytes(shape, given, buffer)
            kept, block, starting = (
                kept + of_branch.kept, max(block, block + of_branch.in_block), max(starting, of_branch.starting)
            )  # fmt: skip
    gathering = (shape.together + (shape.batch > 1)) * buffer
    return kept + max(block, starting, ends, gathering)


def past_bytes(config: DiTConfig, batch: int, frames: int, frame_tokens: int, *, itemsize: int = 2) -> int:
    """What one question's `Past` takes that holds so many latent frames: keys and values of every block."""
    return 2 * config.layers * batch * frames * frame_tokens * config.dim * itemsize


def _context_bytes(config: DiTConfig, shape: PassShape, itemsize: int) -> int:
    """What all blocks see beside the tokens: turns, text, picture."""
    turns = shape.length * (config.head_dim // 2) * 8
    return turns + shape.batch * (config.text_tokens + config.image_tokens) * config.dim * itemsize


class _Poses(NamedTuple):
    """Of the tokens of a pose video, and of one frame, of the dtype of computation; 0 without one."""

    whole: int
    frame: int


def _poses(shape: PassShape, buffer: int) -> _Poses:
    frame = buffer // shape.frames
    return _Poses(buffer - frame, frame) if shape.steering.get(PoseBranch) else _Poses(0, 0)


def _block_bytes(config: DiTConfig, shape: PassShape, itemsize: int, unpacking: Unpacking, run: int) -> int:
    """Beside the tokens that enter a block."""
    buffer = shape.tokens * config.dim * itemsize
    square, inner = (_unpacked(config.dim * width, itemsize, unpacking) for width in (config.dim, config.ffn_dim))
    rows = 12 * min(shape.tokens * config.dim, DEVICE_ELEMENTS)
    usual = shape.batch * min(shape.length, matrix_run_of(shape.length))
    part = usual * config.dim * itemsize
    # Self-attention: normed tokens, queries and keys; then values in place of the normed tokens, and the result.
    attention = max(4 * buffer, 3 * buffer + max(square.made, rows), 3 * buffer + part + square.making)
    if config.image_tokens:
        attention = max(attention, 4 * buffer + 2 * shape.batch * config.image_tokens * config.dim * itemsize)
    poses = _poses(shape, buffer)
    if poses.whole:  # their keys and values, room for those of a frame behind the video's, and what it makes of them
        looked = max(buffer + poses.frame, part + square.making)
        attention = max(attention, 3 * buffer + 2 * poses.whole + 2 * poses.frame + looked)
    chunk = shape.batch * min(shape.length, run) if run else usual
    hidden = chunk * config.ffn_dim * itemsize
    result = chunk * config.dim * itemsize
    feed_forward = buffer + max(2 * hidden, hidden + inner.making, hidden + result + inner.made)
    return max(attention, feed_forward)


class _LeanBlock(NamedTuple):
    """What `block.lean` holds beside the tokens that enter a block."""

    config: DiTConfig
    shape: PassShape
    itemsize: int
    unpacking: Unpacking
    feed_forward_run: int
    fp32_residual: bool
    lean: Lean

    @property
    def size_bytes(self) -> int:
        """The most at once."""
        return max(self._queries_and_keys(), self._groups(), self._context(), self._feed_forward())

    @property
    def _buffer(self) -> int:
        return self.shape.tokens * self.config.dim * self.itemsize

    def _run_tokens(self, run: int) -> int:
        return self.shape.batch * min(self.shape.length, max(1, run // self.shape.batch))

    @property
    def _part(self) -> int:
        """A run of tokens."""
        return self._run_tokens(self.lean.run) * self.config.dim * self.itemsize

    @property
    def _normed(self) -> int:
        """A run while it is normed, or while it is multiplied."""
        return self._part + max(self._in_float32, self._copied)

    @property
    def _in_float32(self) -> int:
        """A run as the norm gives it, of tokens in float32."""
        return 4 * self._run_tokens(self.lean.run) * self.config.dim if self.fp32_residual else 0

    @property
    def _copied(self) -> int:
        """What a matrix makes of a run; of a run that is all tokens it is kept as it is."""
        return self._part if self._part < self._buffer else 0

    def _rows(self, elements: int) -> int:
        return 12 * min(self._run_tokens(self.lean.run) * self.config.dim, elements)

    def _queries_and_keys(self) -> int:
        square = _unpacked(self.config.dim**2, self.itemsize, self.unpacking)
        held = 0 if self.lean.keys_in_groups else self._buffer + _poses(self.shape, self._buffer).whole
        rows = self._copied + self._rows(DEVICE_ELEMENTS // LEAN_PARTS)
        return held + max(square.making, square.made + self._buffer + max(self._normed, rows))

    def _groups(self) -> int:
        """Values, with what attention makes of them, and the keys where these are made in groups too."""
        config, heads = self.config, -(-self.config.heads // self.lean.groups)
        of_group = self._buffer * heads // config.heads
        rows = config.dim if self.unpacking.scratch else heads * config.head_dim
        matrix = _unpacked(config.dim * rows, self.itemsize, self.unpacking)
        in_groups, poses = self.lean.keys_in_groups, _poses(self.shape, self._buffer)
        held = self._buffer + (4 * self.shape.tokens if in_groups else self._buffer + poses.whole)
        keys = of_group if in_groups else 0
        copied = self._copied * heads // config.heads
        beside = matrix.made + self._part + max(self._in_float32, copied)  # while a matrix is multiplied
        made = keys + max(2 * of_group, of_group + beside, matrix.making)
        return held + max(made, self._poses_of_group(poses, heads, beside) if poses.whole else 0)

    def _poses_of_group(self, poses: _Poses, heads: int, beside: int) -> int:
        """Keys and values of a group with room for a frame of poses; then those of the poses, too."""
        part, config = self.lean.keys_in_groups, self.config
        whole, frame, own = (
            size * heads // config.heads for size in (poses.whole, poses.frame, self._buffer)
        )  # fmt: skip
        room = 2 * (own + frame)
        of_poses = whole + (4 * self.shape.tokens * poses.whole // self._buffer + whole if part else 0)
        return max((2 if part else 1) * own + room, room + of_poses + max(beside, frame))

    def _context(self) -> int:
        """Queries, their result and the matrices of both; keys and values of what is shown."""
        config = self.config
        square = _unpacked(config.dim**2, self.itemsize, self.unpacking)
        shown = 2 * self.shape.batch * (config.text_tokens + config.image_tokens) * config.dim * self.itemsize
        remembered = shown if self._copied else 0  # in all runs but the first
        rows = 2 * self._part + self._rows(DEVICE_ELEMENTS) + remembered
        return max(square.made + square.making, 2 * square.made + max(rows, shown + 3 * self._part))

    def _feed_forward(self) -> int:
        config = self.config
        run = min(self.lean.run, self.feed_forward_run or self.lean.run)
        tokens = self._run_tokens(run)
        part, hidden = (tokens * width * self.itemsize for width in (config.dim, config.ffn_dim))
        inner = _unpacked(config.dim * config.ffn_dim, self.itemsize, self.unpacking)
        if self.lean.keys_in_groups:
            return part + max(2 * hidden, hidden + inner.making, hidden + part + inner.made)
        return max(inner.made + inner.making, 2 * inner.made + part + max(2 * hidden, hidden + part))


class _Unpacked(NamedTuple):
    """Bytes of a matrix as plain numbers, and the most while it becomes them."""

    made: int
    making: int


def _unpacked(elements: int, itemsize: int, unpacking: Unpacking) -> _Unpacked:
    if not unpacking.is_made:
        return _Unpacked(0, 0)
    made = elements * itemsize
    return _Unpacked(made, made + min(unpacking.scratch, 7 * elements))


def _ends_bytes(config: DiTConfig, shape: PassShape, itemsize: int, fp32_residual: bool) -> int:
    """Of the video's own tokens. Before the first block: the patches as the convolution gives them, and the channels it
    takes. After the last one: the normed tokens, which float32 ones are first in float32."""
    latent, numbers = shape.tokens * PATCH[1] * PATCH[2], shape.tokens * config.dim
    first = numbers * itemsize + latent * config.in_channels * (4 + itemsize)
    return max(first, numbers * (4 + itemsize)) if fp32_residual else first
