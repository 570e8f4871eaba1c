"""Work on long token sequences a run of tokens at a time, so that what lies between two buffers stays small."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

# Elements of one run of element-wise work. On the CPU a float32 run then stays in the cache (2.4 times faster than
# whole sequences at 2,000 tokens); elsewhere it is large enough to hide the launches of its kernels.
CPU_ELEMENTS = 2**19
DEVICE_ELEMENTS = 2**23

LEAN_PARTS = 4
"""Into so many parts a run of element-wise work is cut where there is little beside it."""

MATRIX_RUN = 8192
"""Matrices are multiplied with at least this many tokens at a time, and at most about four times per call."""


def update_tokens(function: Callable[..., Tensor], x: Tensor, *others: Tensor, run: int, may_overwrite: bool) -> Tensor:
    """function(x, *others) of work that treats every token by itself.

    Where that is allowed, x is overwritten with the result, `run` tokens at a time.

    Args:
        function: gives a tensor of x's shape and dtype.
        x: [B, L, ...]; if it may be overwritten, the caller gives it away.
        others: [B or 1, L, ...], cut into the same runs.
        run: tokens at a time, see `rows_run` and `matrix_run`.
    """
    length = x.shape[1]
    if not may_overwrite or length <= run:
        return function(x, *others)
    for start in range(0, length, run):
        part = slice(start, start + run)
        x[:, part] = function(x[:, part], *(other[:, part] for other in others))
    return x


def copy_forward(x: Tensor, by: int) -> None:
    """Moves all tokens of x [B, L, ...] but the first `by` so many places forward, over the ones before them."""
    for start in range(0, x.shape[1] - by, by):
        stop = min(start + by, x.shape[1] - by)
        x[:, start:stop] = x[:, start + by : stop + by]


def rows_run(x: Tensor) -> int:
    """Tokens of x [B, L, D] at a time for element-wise work."""
    elements = CPU_ELEMENTS if x.device.type == "cpu" else DEVICE_ELEMENTS
    return max(1, elements // (x.shape[0] * x.shape[-1]))


def matrix_run(x: Tensor) -> int:
    """Tokens of x [B, L, D] at a time for matrices."""
    return matrix_run_of(x.shape[1])


def matrix_run_of(length: int) -> int:
    """As `matrix_run`, for a sequence of so many tokens."""
    return max(MATRIX_RUN, -(-length // 4))
