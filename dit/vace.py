"""The blocks of VACE: they carry a control video beside the tokens, and steer the model's blocks with it."""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType

import torch
from torch import Tensor, nn

from .block import Block, Context
from .config import PATCH, DiTConfig
from .execution import Execution


class VaceBlock(Block):
    """A block over the tokens of the control video, and what it gives to the model's tokens.

    The first one mixes the model's own tokens into those of the control video.
    """

    def __init__(self, config: DiTConfig, operations: ModuleType, *, is_first: bool) -> None:
        super().__init__(config, operations)
        self.is_first = is_first
        if is_first:
            self.before_proj = operations.Linear(config.dim, config.dim)
        self.after_proj = operations.Linear(config.dim, config.dim)

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, control: Tensor, start: Tensor, context: Context, execution: Execution
    ) -> tuple[Tensor, Tensor]:
        """One step of the control video.

        Args:
            control: [B, L, D], its tokens, which may be overwritten if the execution says so.
            start: [B, L, D], the model's tokens as they entered its first block; only the first VACE block looks.

        Returns:
            The tokens of the control video after the block, and its hint for the model's tokens, both [B, L, D].
        """
        dtype = context.text.dtype
        if self.is_first:
            control = start + self.before_proj(control.to(dtype))
        control = super().forward(control, context, execution)
        return control, self.after_proj(control.to(dtype))


class Controls:
    """The control videos of one forward pass, on their way through the VACE blocks.

    Args:
        tokens: of each control video, [B, L, D].
        strengths: of each control video.
        start: [B, L, D], the model's tokens as they enter its first block; kept until the first VACE block has run.
    """

    def __init__(self, tokens: list[Tensor], strengths: list[float], start: Tensor) -> None:
        self._tokens = tokens
        self._strengths = strengths
        self._start: Tensor | None = start

    def steer(self, block: VaceBlock, tokens: Tensor, context: Context, execution: Execution) -> Tensor:
        """Runs a VACE block for every control video; gives the model's `tokens` [B, L, D] with its hints added.

        `tokens` may be overwritten if the execution says so.
        """
        for index, strength in enumerate(self._strengths):
            self._tokens[index], hint = execution.run(block, self._tokens[index], self._start, context)
            tokens = _add_scaled(tokens, hint, strength, may_overwrite=execution.may_overwrite)
        self._start = None
        return tokens


class VaceModule(nn.Module):
    """The VACE part of a transformer by itself, as separate files hold it. Attributes equal the official keys.

    Args:
        config: of the VACE blocks; `layers` does not matter.
        operations: as for `WanDiT`.
    """

    def __init__(self, config: DiTConfig, operations: ModuleType = nn) -> None:
        super().__init__()
        self.config = config
        self.vace_patch_embedding = vace_embedding(config, operations)
        self.vace_blocks = vace_blocks(config, operations)


def vace_embedding(config: DiTConfig, operations: ModuleType) -> nn.Module:
    """The layer that cuts a control video into tokens."""
    return operations.Conv3d(config.vace_channels, config.dim, kernel_size=PATCH, stride=PATCH)


def vace_blocks(config: DiTConfig, operations: ModuleType) -> nn.ModuleList:
    """The VACE blocks of a transformer."""
    count = range(config.vace_blocks)
    return nn.ModuleList(VaceBlock(config, operations, is_first=index == 0) for index in count)


def running_order(blocks: Iterable[nn.Module], steering: Iterable[nn.Module], layers: Iterable[int]) -> list[nn.Module]:
    """The model's blocks, with each VACE block right after the one it steers."""
    after = dict(zip(layers, steering))
    order = []
    for index, block in enumerate(blocks):
        order += [block, after[index]] if index in after else [block]
    return order


def _add_scaled(x: Tensor, y: Tensor, strength: float, *, may_overwrite: bool) -> Tensor:
    """x + strength * y in x's dtype, in place if x may be overwritten."""
    return x.add_(y, alpha=strength) if may_overwrite else torch.add(x, y, alpha=strength)
