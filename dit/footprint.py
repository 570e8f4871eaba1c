"""How many bytes the transformer takes: its weights, and what one pass holds beside them. Arithmetic, no tensors.

The steps of a pass are those of `block.py`; tests compare the sum with what the meta device counts.
"""

from __future__ import annotations

from typing import NamedTuple

from .config import PATCH, DiTConfig
from .tokens import DEVICE_ELEMENTS, matrix_run_of


class Weights(NamedTuple):
    """Numbers in some layers: `matrix` of them in the matrices of blocks, which have `rows` rows; `other` elsewhere."""

    matrix: int
    rows: int
    other: int

    @property
    def elements(self) -> int:
        """All numbers."""
        return self.matrix + self.other


class Unpacking(NamedTuple):
    """What a quantised matrix takes while it is used: whether it is made whole, and `scratch` bytes meanwhile."""

    is_made: bool
    scratch: int


PLAIN = Unpacking(is_made=False, scratch=0)
FP8 = Unpacking(is_made=True, scratch=0)
BLOCKWISE = Unpacking(is_made=True, scratch=7 << 24)
"""Of formats with a scale per few numbers (GGUF, four bits), which are unpacked 2^24 numbers at a time."""


class PassShape(NamedTuple):
    """What one pass works on.

    `batch` videos of a grid of `frames` x `rows` x `columns` tokens each; `controls`: control videos of VACE;
    `together`: passes run block by block (see `WanDiT.forward_together`).
    """

    batch: int
    frames: int
    rows: int
    columns: int
    controls: int = 0
    together: int = 1

    @property
    def length(self) -> int:
        """Tokens of one video."""
        return self.frames * self.rows * self.columns

    @property
    def tokens(self) -> int:
        """Tokens of all videos."""
        return self.batch * self.length


def pass_shape(latent: tuple[int, int, int, int], controls: int = 0, together: int = 1) -> PassShape:
    """The pass for a latent of (batch, frames, height, width)."""
    batch, frames, height, width = latent
    return PassShape(batch, frames, -(-height // PATCH[1]), -(-width // PATCH[2]), controls, together)


def block_weights(config: DiTConfig) -> list[Weights]:
    """Of every block that a pass can run, in the order of `WanDiT.streamed_blocks`."""
    dim, ffn = config.dim, config.ffn_dim
    squares = 8 if config.clip_dim is None else 10
    matrix = squares * dim**2 + 2 * dim * ffn
    rows = squares * dim + ffn + dim
    norms = 2 + 2 + 2 + (config.clip_dim is not None)
    block = Weights(matrix, rows, rows + norms * dim + 6 * dim)
    steering = block._replace(other=block.other + dim**2 + dim)
    order = []
    for index in range(config.layers):
        order.append(block)
        if index in config.vace_layers:
            first = dim**2 + dim if index == 0 else 0
            order.append(steering._replace(other=steering.other + first))
    return order


def other_weights(config: DiTConfig) -> int:
    """Numbers outside the blocks."""
    dim, patch = config.dim, PATCH[0] * PATCH[1] * PATCH[2]
    embedding = (config.in_channels * patch + 1) * dim
    text = (config.text_dim + 1) * dim + (dim + 1) * dim
    time = (config.freq_dim + 1) * dim + (dim + 1) * dim + (dim + 1) * 6 * dim
    head = (dim + 1) * config.out_channels * patch + 2 * dim
    image = 0
    if config.clip_dim is not None:
        width = config.clip_dim
        image = 2 * width + (width + 1) * width + (width + 1) * dim + 2 * dim + (config.clip_tokens or 0) * width
    vace = (config.vace_channels * patch + 1) * dim if config.vace_blocks else 0
    return embedding + text + time + head + image + vace


def pass_bytes(
    config: DiTConfig,
    shape: PassShape,
    *,
    itemsize: int = 2,
    unpacking: Unpacking = PLAIN,
    run: int = 0,
    fp32_residual: bool = False,
) -> int:
    """The most that a pass holds at once beside the weights.

    Args:
        itemsize: bytes of a number of the dtype of computation.
        unpacking: how the matrices of the blocks are stored.
        run: tokens that the feed-forward layers take at a time; 0 for the usual number.
        fp32_residual: see `WanDiT`; what enters a block then has 4 bytes a number.
    """
    buffer = shape.tokens * config.dim * (4 if fp32_residual else itemsize)
    kept = shape.together * (buffer + _context_bytes(config, shape, itemsize))
    block = _block_bytes(config, shape, itemsize, unpacking, run)
    if shape.controls:
        # Each control video has a buffer of tokens. The first VACE block also holds the model's first tokens and the
        # sum of both.
        block = max(block + 2 * buffer, buffer)
        kept += shape.together * shape.controls * buffer + (shape.together - 1) * buffer
    return kept + max(block, _ends_bytes(config, shape, itemsize))


def _context_bytes(config: DiTConfig, shape: PassShape, itemsize: int) -> int:
    """What all blocks see beside the tokens: turns, text, picture."""
    turns = shape.length * (config.head_dim // 2) * 8
    image = 0 if config.clip_dim is None else shape.batch * (config.clip_tokens or 257) * config.dim * itemsize
    return turns + shape.batch * config.text_tokens * config.dim * itemsize + image


def _block_bytes(config: DiTConfig, shape: PassShape, itemsize: int, unpacking: Unpacking, run: int) -> int:
    """Beside the tokens that enter a block."""
    buffer = shape.tokens * config.dim * itemsize
    square, inner = (_unpacked(config.dim * width, itemsize, unpacking) for width in (config.dim, config.ffn_dim))
    rows = 12 * min(shape.tokens * config.dim, DEVICE_ELEMENTS)
    usual = shape.batch * min(shape.length, matrix_run_of(shape.length))
    part = usual * config.dim * itemsize
    # Self-attention: normed tokens, queries and keys; then values in place of the normed tokens, and the result.
    attention = max(4 * buffer, 3 * buffer + max(square.made, rows), 3 * buffer + part + square.making)
    if config.clip_dim is not None:
        attention = max(attention, 4 * buffer + 2 * shape.batch * 257 * config.dim * itemsize)
    chunk = shape.batch * min(shape.length, run) if run else usual
    hidden = chunk * config.ffn_dim * itemsize
    result = chunk * config.dim * itemsize
    feed_forward = buffer + max(2 * hidden, hidden + inner.making, hidden + result + inner.made)
    return max(attention, feed_forward)


class _Unpacked(NamedTuple):
    """Bytes of a matrix as plain numbers, and the most while it becomes them."""

    made: int
    making: int


def _unpacked(elements: int, itemsize: int, unpacking: Unpacking) -> _Unpacked:
    if not unpacking.is_made:
        return _Unpacked(0, 0)
    made = elements * itemsize
    return _Unpacked(made, made + min(unpacking.scratch, 7 * elements))


def _ends_bytes(config: DiTConfig, shape: PassShape, itemsize: int) -> int:
    """Before the first block: the patches as the convolution gives them, and the channels it takes."""
    latent = shape.tokens * PATCH[1] * PATCH[2]
    return shape.tokens * config.dim * itemsize + latent * config.in_channels * (4 + itemsize)
