"""VACE: blocks that carry a control video beside the tokens, and steer the trunk's blocks with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ...common.errors import FileFault, PairingError
from ...common.model_names import THIS_MODEL, ModelNames
from ...common.records import record
from ...common.shapes import size_text
from ..block import Block
from ..config import PATCH, DiTConfig
from ..context import Context
from ..execution import Execution
from ..tokens import matrix_run, update_tokens
from .branch import Branch, PassBytes, PassShape, Shapes, Steered, Trunk, WeightCount


@record
class VaceBranch(Branch[DiTConfig]):
    """Blocks that follow control videos.

    Attributes:
        blocks: how many.
        channels: of a control video: 32 of latents and 64 of mask.
    """

    name = "vace"
    words = title = "VACE"
    roots = ("vace_patch_embedding", "vace_blocks")
    module_kind = "vace_module"

    blocks: int
    channels: int = 96

    @classmethod
    def read(cls, tensors: Shapes) -> VaceBranch | None:
        """See `Branch.read`."""
        if not tensors.has("vace_patch_embedding.weight"):
            return None
        return cls(tensors.count("vace_blocks."), tensors.size("vace_patch_embedding.weight", 1))

    @classmethod
    def lacking(cls, names: ModelNames = THIS_MODEL) -> PairingError:
        """See `Branch.lacking`."""
        found = f"{names.subject} has no VACE blocks and cannot follow a control video. Choose "
        return PairingError(found, *names.file("vace", "a VACE model, or add a VACE module"), ".")

    def steered_layers(self, layers: int) -> tuple[int, ...]:
        """The blocks of a trunk of so many layers that its own steer: every (layers / blocks)-th, from the first on."""
        return tuple(range(0, layers, layers // self.blocks))[: self.blocks]

    def own_blocks(self, layers: int) -> Mapping[int, Sequence[str]]:
        """See `Branch.own_blocks`."""
        return {layer: (f"vace_blocks.{number}",) for number, layer in enumerate(self.steered_layers(layers))}

    def check_layers(self, layers: int) -> None:
        """See `Branch.check_layers`."""
        if self.blocks > layers:
            raise FileFault(
                f"has {self.blocks} VACE blocks for {layers} blocks, which no Wan model has",
                "it is damaged; download it again",
            )

    def build(self, config: DiTConfig, operations: ModuleType) -> Mapping[str, nn.Module]:
        """See `Branch.build`."""
        numbers = range(self.blocks)
        return {
            "vace_patch_embedding": operations.Conv3d(self.channels, config.dim, kernel_size=PATCH, stride=PATCH),
            "vace_blocks": nn.ModuleList(VaceBlock(config, operations, is_first=number == 0) for number in numbers),
        }

    def check(self, given: Sequence[VaceInput], latent: Tensor) -> None:
        """See `Branch.check`."""
        for control in given:
            check_control(control.channels, latent, self.channels)

    def embed(self, trunk: Trunk, given: Sequence[VaceInput], tokens: Tensor, context: Context) -> Steered:
        """See `Branch.embed`."""
        embedding = trunk.get_submodule("vace_patch_embedding")
        embedded = [trunk.tokens_of(embedding, control.channels) for control in given]
        return Steered(tokens, context, Controls(embedded, [control.strength for control in given], tokens.clone()))

    def other_weights(self, config: DiTConfig) -> int:
        """See `Branch.other_weights`."""
        return (self.channels * PATCH[0] * PATCH[1] * PATCH[2] + 1) * config.dim

    def block_weights(self, config: DiTConfig, block: WeightCount) -> Sequence[WeightCount]:
        """See `Branch.block_weights`."""
        projection = config.dim**2 + config.dim
        return [
            block._replace(other=block.other + projection * (2 if number == 0 else 1)) for number in range(self.blocks)
        ]

    def pass_bytes(self, shape: PassShape, given: int, buffer: int) -> PassBytes:
        """See `Branch.pass_bytes`.

        Each control video has a buffer of tokens. Until its first block has run, there are the trunk's first ones too.
        """
        return PassBytes(shape.together * given * buffer + (shape.together - 1) * buffer, buffer)

    def input_bytes(self, pixels: int, passes: int, given: int) -> int:
        """See `Branch.input_bytes`."""
        return 4 * pixels * given * self.channels


class VaceInput(NamedTuple):
    """A control video for the VACE blocks.

    `channels` [B, channels, T, h, w]: normalised latents of what to keep and of what to change, and the mask (see
    `conditioning.vace`); `strength` scales what the blocks add, 1 as in training.
    """

    channels: Tensor
    strength: float

    @property
    def branch(self) -> type[VaceBranch]:
        """The kind of branch it steers."""
        return VaceBranch


def check_control(control: Tensor, latent: Tensor, channels: int, advice: str = "") -> None:
    """Refuses a control video that was made for another latent.

    Args:
        control: [1 or B, channels, T, h, w].
        latent: [B, C, T, h, w].
        advice: what to do; of a general kind if not given.

    Raises:
        PairingError: it does not fit.
    """
    batches = (1, len(latent))
    if control.shape[1] != channels or control.shape[2:] != latent.shape[2:] or len(control) not in batches:
        raise PairingError(
            f"The control video was prepared for a latent of {size_text(control)}, but the latent to sample has "
            f"{size_text(latent)}. {advice or 'Prepare it for a video of the same size and length.'}"
        )


class VaceBlock(Block):
    """A block over the tokens of the control video, and what it gives to the trunk's tokens.

    The first one mixes the trunk's own tokens into those of the control video.
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
            control: [1 or B, L, D], its tokens, which may be overwritten if the execution says so.
            start: [B, L, D], the trunk's tokens as they entered its first block; only the first VACE block looks.

        Returns:
            The tokens of the control video after the block, and its hint for the trunk's tokens, both [B, L, D].
        """
        dtype = context.text.dtype
        if self.is_first:

            def joined(control: Tensor, start: Tensor) -> Tensor:
                return start + self.before_proj(control.to(dtype))

            # A control video that all videos of a batch share becomes one for each.
            may_overwrite = execution.may_overwrite and len(control) == len(start)
            control = update_tokens(joined, control, start, run=matrix_run(control), may_overwrite=may_overwrite)
        control = super().forward(control, context, execution)
        return control, self.after_proj(control.to(dtype))


class Controls:
    """The control videos of one forward pass, on their way through the VACE blocks.

    Args:
        tokens: of each control video, [B, L, D].
        strengths: of each control video.
        start: [B, L, D], the trunk's tokens as they enter its first block; kept until the first VACE block has run.
    """

    def __init__(self, tokens: list[Tensor], strengths: list[float], start: Tensor) -> None:
        self._tokens = tokens
        self._strengths = strengths
        self._start: Tensor | None = start

    def part(self, tokens: slice) -> Controls:
        """See `BranchRun.part`."""
        assert self._start is not None, "no block has run"
        return Controls([each[:, tokens].clone() for each in self._tokens], self._strengths, self._start[:, tokens])

    def after(self, block: nn.Module, tokens: Tensor, context: Context, execution: Execution) -> Tensor:
        """Runs a VACE block for every control video; gives the trunk's `tokens` [B, L, D] with its hints added.

        `tokens` may be overwritten if the execution says so.
        """
        for index, strength in enumerate(self._strengths):
            self._tokens[index], hint = execution.run(block, self._tokens[index], self._start, context)
            tokens = _add_scaled(tokens, hint, strength, may_overwrite=execution.may_overwrite)
        self._start = None
        return tokens


def _add_scaled(x: Tensor, y: Tensor, strength: float, *, may_overwrite: bool) -> Tensor:
    """x + strength * y in x's dtype, in place if x may be overwritten."""
    return x.add_(y, alpha=strength) if may_overwrite else torch.add(x, y, alpha=strength)
