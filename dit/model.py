"""The Wan video transformer. Attribute names equal the keys of the official checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import ModuleType
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..common.errors import InvalidInputError, PairingError
from ..common.streaming import check_backward
from .block import Block, Context
from .config import PATCH, DiTConfig
from .execution import DEFAULT_EXECUTION, Execution
from .inputs import DitInputs
from .layers import ClipProjection, Head, timestep_signal
from .precise import in_float32
from .rope import make_rope
from .vace import Controls, VaceBlock, VaceModule, running_order, vace_blocks, vace_embedding


class Embedded(NamedTuple):
    """The inputs as the blocks see them.

    tokens [B, L, D]; time [B, G, D] of G equal runs of tokens, float32; the grid of tokens; height and width of the
    latent, and its dtype; the blocks' context; the control videos of VACE, None without; the model's own blocks that
    are skipped.
    """

    tokens: Tensor
    time: Tensor
    grid: tuple[int, int, int]
    size: tuple[int, int]
    dtype: torch.dtype
    context: Context
    controls: Controls | None = None
    skipped: frozenset[int] = frozenset()


class WanDiT(nn.Module):
    """Predicts the velocity (noise - clean) of a noisy latent video.

    Args:
        config: sizes, see `PRESETS`.
        operations: namespace that gives Linear, LayerNorm and Conv3d.
        fp32_residual: keep the tokens in float32 between the matrices of a 16-bit model. Closer to the float32
            result, at twice the memory of one token buffer.
    """

    def __init__(self, config: DiTConfig, operations: ModuleType = nn, fp32_residual: bool = False) -> None:
        super().__init__()
        dim = config.dim
        self.config = config
        self.fp32_residual = fp32_residual
        linear = operations.Linear

        self.patch_embedding = operations.Conv3d(config.in_channels, dim, kernel_size=PATCH, stride=PATCH)
        self.text_embedding = nn.Sequential(linear(config.text_dim, dim), nn.GELU(approximate="tanh"), linear(dim, dim))
        self.time_embedding = nn.Sequential(linear(config.freq_dim, dim), nn.SiLU(), linear(dim, dim))
        self.time_projection = nn.Sequential(nn.SiLU(), linear(dim, 6 * dim))
        if config.clip_dim is not None:
            self.img_emb = ClipProjection(config, operations)
        self.blocks = nn.ModuleList(Block(config, operations) for _ in range(config.layers))
        self.head = Head(config, operations)
        if config.vace_blocks:
            self.vace_patch_embedding = vace_embedding(config, operations)
            self.vace_blocks = vace_blocks(config, operations)

    def add_vace(self, module: VaceModule) -> None:
        """Makes this a VACE model, with the VACE part of another file; `module` is not to be used elsewhere."""
        blocks, channels = module.config.vace_blocks, module.config.vace_channels
        self.config = replace(self.config, vace_blocks=blocks, vace_channels=channels)
        self.vace_patch_embedding = module.vace_patch_embedding
        self.vace_blocks = module.vace_blocks

    @property
    def dtype(self) -> torch.dtype:
        """The dtype the matrices are multiplied in."""
        return self.patch_embedding.weight.dtype

    @property
    def streamed_blocks(self) -> list[nn.Module]:
        """Every block that a pass can run, in order, those of VACE included."""
        if not self.config.vace_blocks:
            return list(self.blocks)
        return running_order(self.blocks, self.vace_blocks, self.config.vace_layers)

    def forward(self, inputs: DitInputs, execution: Execution = DEFAULT_EXECUTION) -> Tensor:
        """Velocity [B, out_channels, T, h, w], in the dtype of the latent.

        Raises:
            PairingError: the inputs do not fit this model.
            InvalidInputError: gradients are wanted, but the blocks are swapped.
        """
        return self.forward_together([inputs], execution)[0]

    def forward_together(self, passes: Sequence[DitInputs], execution: Execution = DEFAULT_EXECUTION) -> list[Tensor]:
        """The velocities of several passes, to the bit those of `forward`, each block run for all before the next.

        So blocks that are swapped in come once for all passes, at the price of one more buffer of tokens per pass.
        """
        embedded = [self.embed(inputs) for inputs in passes]
        tokens = self.trunk(embedded, execution)
        velocities = []
        while tokens:
            velocities.append(self.unembed(tokens.pop(0), embedded.pop(0)))
        return velocities

    def embed(self, inputs: DitInputs) -> Embedded:
        """Latent, timestep, text and image as tokens of the transformer's width."""
        tokens, grid = self._tokens(self.patch_embedding, self._channels(inputs))
        timesteps = self._timesteps(inputs)  # [B, G]
        signal = timestep_signal(timesteps.flatten(), self.config.freq_dim)
        time = in_float32(self.time_embedding, signal)
        modulation = in_float32(self.time_projection, time).unflatten(1, (6, -1))
        context = Context(
            modulation=modulation.unflatten(0, timesteps.shape),
            rope=make_rope(self.config.head_dim, grid, tokens.device),
            text=self._text_tokens(inputs),
            image=self._clip_tokens(inputs),
        )
        return Embedded(
            tokens,
            time.unflatten(0, timesteps.shape),
            grid,
            (inputs.latent.shape[-2], inputs.latent.shape[-1]),
            inputs.latent.dtype,
            context,
            self._controls(inputs, tokens),
            inputs.skipped,
        )

    def trunk(self, passes: Sequence[Embedded], execution: Execution = DEFAULT_EXECUTION) -> list[Tensor]:
        """All blocks in order: the tokens [B, L, D] of each pass after the last one.

        `Embedded.tokens` may be overwritten if the execution says so.
        """
        tokens = [embedded.tokens for embedded in passes]
        has_controls = any(embedded.controls is not None for embedded in passes)
        own = 0  # of the model's blocks, those of VACE not counted
        for index, block in enumerate(execution.stream(self.streamed_blocks if has_controls else self.blocks)):
            is_own = not isinstance(block, VaceBlock)
            running = [number for number, each in enumerate(passes) if not (is_own and own in each.skipped)]
            for number in running:
                tokens[number] = _run_block(block, tokens[number], passes[number], execution)
            own += is_own
            check_backward(execution.stream, tokens)
            execution.on_block(index, [tokens[number] for number in running])
        return tokens

    def unembed(self, tokens: Tensor, embedded: Embedded) -> Tensor:
        """Tokens [B, L, D] -> velocity [B, out_channels, T, h, w], in the dtype of the latent."""
        values = self.head(tokens, embedded.time, self.dtype)
        sizes = dict(zip("Thwtqr", (*embedded.grid, *PATCH)))
        values = rearrange(values, "B (T h w) (t q r C) -> B C (T t) (h q) (w r)", **sizes)
        height, width = embedded.size
        return values[..., :height, :width].to(embedded.dtype)  # without what was padded

    def _tokens(self, embedding: nn.Module, channels: Tensor) -> tuple[Tensor, tuple[int, int, int]]:
        """channels [B, C, T, h, w] -> tokens [B, L, D] and their grid."""
        patches = embedding(pad_to_patches(channels.to(self.dtype)))  # [B, D, T, h', w']
        tokens = patches.flatten(2).transpose(1, 2).contiguous()
        return tokens.float() if self.fp32_residual else tokens, tuple(patches.shape[2:])

    def _timesteps(self, inputs: DitInputs) -> Tensor:
        """[B, 1], or [B, T] with a timestep for each latent frame."""
        timestep = inputs.timestep
        if timestep.ndim == 2 and timestep.shape[1] != inputs.latent.shape[2]:
            raise InvalidInputError(
                f"There are timesteps for {timestep.shape[1]} latent frames, but the latent has "
                f"{inputs.latent.shape[2]}. Give one timestep for each frame, or one for all."
            )
        return timestep if timestep.ndim == 2 else timestep.unsqueeze(1)

    def _controls(self, inputs: DitInputs, tokens: Tensor) -> Controls | None:
        if not inputs.vace:
            return None
        if not self.config.vace_blocks:
            raise PairingError(
                "This model has no VACE blocks to follow a control video. Load a VACE model, or add a VACE module."
            )
        wanted = (self.config.vace_channels, *inputs.latent.shape[2:])
        for control in inputs.vace:
            if tuple(control.channels.shape[1:]) != wanted:
                raise PairingError(
                    f"The control video has the shape {list(control.channels.shape[1:])}, but this latent needs "
                    f"{list(wanted)}. Prepare it for a video of the same size and length."
                )
        embedded = [self._tokens(self.vace_patch_embedding, control.channels)[0] for control in inputs.vace]
        return Controls(embedded, [control.strength for control in inputs.vace], tokens.clone())

    def _channels(self, inputs: DitInputs) -> Tensor:
        latent, image = inputs.latent, inputs.image_channels
        wanted = self.config.in_channels
        if image is None:
            missing = wanted - latent.shape[1]
            image = latent.new_zeros(latent.shape[0], max(missing, 0), *latent.shape[2:])
        if latent.shape[1] + image.shape[1] != wanted:
            raise PairingError(
                f"The latent has {latent.shape[1]} channels and the image conditioning {image.shape[1]}, but this "
                f"model takes {wanted} in all. Use an image-to-video model (36) with a start image, a text-to-video "
                "model (16, or 48 for TI2V-5B) without."
            )
        return torch.cat([latent, image.to(latent.dtype)], dim=1)

    def _text_tokens(self, inputs: DitInputs) -> Tensor:
        if inputs.text.shape[-1] != self.config.text_dim:
            raise PairingError(
                f"The text embedding is {inputs.text.shape[-1]} wide, but this model takes {self.config.text_dim}. "
                "Load the text encoder that belongs to the model (UMT5-XXL for Wan, the tiny one for the tiny model)."
            )
        return self.text_embedding(inputs.text.to(self.dtype))

    def _clip_tokens(self, inputs: DitInputs) -> Tensor | None:
        if inputs.clip_image is None:
            return None
        if self.config.clip_dim is None:
            raise PairingError(
                "This model has no branch for CLIP image features (only Wan 2.1 image-to-video models have one). "
                "Remove the CLIP vision input, or load such a model."
            )
        return self.img_emb(inputs.clip_image.to(self.dtype))


@dataclass(frozen=True, slots=True)
class RunningDiT:
    """A model and how one run computes with it: the three parts of a pass, as a denoiser asks for them."""

    model: WanDiT
    execution: Execution

    def embed(self, inputs: DitInputs) -> Embedded:
        """See `WanDiT.embed`."""
        return self.model.embed(inputs)

    def trunk(self, passes: Sequence[Embedded]) -> list[Tensor]:
        """See `WanDiT.trunk`."""
        return self.model.trunk(passes, self.execution)

    def unembed(self, tokens: Tensor, embedded: Embedded) -> Tensor:
        """See `WanDiT.unembed`."""
        return self.model.unembed(tokens, embedded)


def _run_block(block: nn.Module, tokens: Tensor, embedded: Embedded, execution: Execution) -> Tensor:
    if not isinstance(block, VaceBlock):
        return execution.run(block, tokens, embedded.context)
    if embedded.controls is None:
        return tokens
    return embedded.controls.steer(block, tokens, embedded.context, execution)


def pad_to_patches(x: Tensor) -> Tensor:
    """x [B, C, T, h, w] with an odd row or column count padded to even, by repeating from the other side."""
    pad_rows, pad_columns = -x.shape[-2] % PATCH[1], -x.shape[-1] % PATCH[2]
    if not pad_rows and not pad_columns:
        return x
    return F.pad(x, (0, pad_columns, 0, pad_rows, 0, 0), mode="circular")
