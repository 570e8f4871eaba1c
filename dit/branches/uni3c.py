"""Uni3C: a control net that follows a video rendered along a camera's path, beside the first blocks of the trunk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import ModuleType
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...common.errors import FileFault, PairingError
from ...common.model_names import THIS_MODEL, ModelNames
from ...common.records import record
from ...weights.multiplication import MatrixSequence
from ..block.attention import SelfAttention, multiply_tokens
from ..config import PATCH, DiTConfig
from ..context import Context
from ..execution import Execution, nothing_before
from ..layers import add_gated
from ..rope import make_rope
from ..tokens import MATRIX_RUN, update_tokens
from .branch import Branch, PassBytes, PassShape, Shapes, Steered, Trunk, WeightCount, unshareable
from .vace import check_control

LATENT_CHANNELS = 20
"""Of its input: those of the noisy latent, and of the mask of given frames; zeros where a model has none."""
_NORM_EPS = 1e-5
_PATCH_SIZE = PATCH[0] * PATCH[1] * PATCH[2]
_HEAD_DIM = 64
_MASK_STRIDE = (4, 8, 8)


@record
class Uni3CBranch(Branch[DiTConfig]):
    """Blocks of their own width, each of which adds to the tokens behind one of the trunk's.

    Attributes:
        blocks: how many.
        dim, ffn_dim: of each.
        embedded: width of the patches' embedding, and of the mask's.
        channels: of its input: 20 and those of a rendered video's latent.
        mask_channels, mask_width: of the embedding of masks and camera rays, which nothing gives here.

    Source: Cao et al., "Uni3C", arXiv 2504.14899; ComfyUI 0.33.0 comfy/ldm/wan/uni3c.py and
        comfy_extras/nodes_model_patch.py, WanUni3CCnetPatch.
    """

    name = "uni3c"
    words = "Uni3C"
    roots = ("controlnet_patch_embedding", "controlnet_mask_embedding", "proj_in", "controlnet_blocks", "proj_out")
    module_kind = "uni3c_module"

    blocks: int
    dim: int = 1024
    ffn_dim: int = 8192
    embedded: int = 5120
    channels: int = 36
    mask_channels: int = 7
    mask_width: int = 256

    @classmethod
    def read(cls, tensors: Shapes) -> Uni3CBranch | None:
        """See `Branch.read`."""
        if not tensors.has("controlnet_patch_embedding.weight"):
            return None
        mask = "controlnet_mask_embedding.mask_proj.0.weight"
        found = cls(
            tensors.count("controlnet_blocks."),
            tensors.size("proj_in.weight", 0),
            tensors.size("controlnet_blocks.0.ffn.0.weight", 0),
            tensors.size("controlnet_patch_embedding.weight", 0),
            tensors.size("controlnet_patch_embedding.weight", 1),
            tensors.size(mask, 1),
            tensors.size(mask, 0),
        )
        if found.dim % _HEAD_DIM or found.mask_width % 8 or found.channels <= LATENT_CHANNELS:
            raise FileFault("has the names of Uni3C but not its structure", "use another file")
        return found

    @classmethod
    def lacking(cls, names: ModelNames = THIS_MODEL) -> PairingError:
        """See `Branch.lacking`."""
        return PairingError(
            f"{names.subject} has no Uni3C control net and cannot follow a rendered video. Add ",
            *names.file("uni3c", "a Uni3C module"), " to it.",
        )  # fmt: skip

    def own_blocks(self, layers: int) -> Mapping[int, Sequence[str]]:
        """See `Branch.own_blocks`."""
        return {number: (f"controlnet_blocks.{number}",) for number in range(self.blocks)}

    def check_layers(self, layers: int) -> None:
        """See `Branch.check_layers`."""
        if self.blocks > layers:
            raise FileFault(
                f"has {self.blocks} Uni3C blocks for {layers} blocks, which no Wan model has",
                "it is damaged; download it again",
            )

    @property
    def sizes(self) -> DiTConfig:
        """Its blocks as those of a small transformer."""
        return DiTConfig(self.dim, self.ffn_dim, self.dim // _HEAD_DIM, self.blocks)

    def build(self, config: DiTConfig, operations: ModuleType) -> Mapping[str, nn.Module]:
        """See `Branch.build`."""
        blocks = (Uni3CBlock(self.sizes, config.dim, operations) for _ in range(self.blocks))
        return {
            "controlnet_patch_embedding": operations.Conv3d(
                self.channels, self.embedded, kernel_size=PATCH, stride=PATCH
            ),
            "controlnet_mask_embedding": _MaskEmbedding(self, operations),
            "proj_in": operations.Linear(self.embedded, self.dim),
            "controlnet_blocks": nn.ModuleList(blocks),
            "proj_out": nn.ModuleList(operations.Linear(self.dim, config.dim) for _ in range(self.blocks)),
        }

    def check(self, given: Sequence[Uni3CInput], latent: Tensor) -> None:
        """See `Branch.check`."""
        if len(given) > 1:
            raise PairingError(f"There are {len(given)} rendered videos for Uni3C, which follows one. Leave one.")
        for each in given:
            check_control(each.channels, latent, self.channels)

    def embed(self, trunk: Trunk, given: Sequence[Uni3CInput], tokens: Tensor, context: Context) -> Steered:
        """See `Branch.embed`."""
        (steering,) = given
        frames, rows, columns = (-(-side // patch) for side, patch in zip(steering.channels.shape[2:], PATCH))
        embedding = trunk.get_submodule("controlnet_patch_embedding")
        proj_in, proj_out = trunk.get_submodule("proj_in"), trunk.get_submodule("proj_out")
        # A latent frame at a time: all at once the wide patches were more than a lean block holds.
        embedded = (trunk.tokens_of(embedding, frame) for frame in steering.channels.split(1, dim=2))
        hidden = torch.cat([proj_in(patches.to(trunk.dtype)) for patches in embedded], dim=1)
        assert isinstance(proj_out, nn.ModuleList) and context.time is not None, "the trunk has them"
        rope = make_rope(_HEAD_DIM, (frames, rows, columns), tokens.device)
        time = F.silu(context.time[:, 0].to(trunk.dtype))
        return Steered(tokens, context, Uni3CRun(hidden, time, rope, proj_out, steering))

    def other_weights(self, config: DiTConfig) -> int:
        """See `Branch.other_weights`."""
        patches = (self.channels * _PATCH_SIZE + 1) * self.embedded
        mask = (self.mask_channels * 4 * 8 * 8 + 3) * self.mask_width + (self.mask_width * 4 + 1) * self.embedded
        outer = (self.embedded + 1) * self.dim + self.blocks * (self.dim + 1) * config.dim
        return patches + mask + outer

    def block_weights(self, config: DiTConfig, block: WeightCount) -> Sequence[WeightCount]:
        """See `Branch.block_weights`."""
        matrix = 4 * self.dim**2 + 2 * self.dim * self.ffn_dim + 6 * self.dim * config.dim
        rows = 4 * self.dim + self.ffn_dim + self.dim + 6 * self.dim
        return [WeightCount(matrix, rows, rows + 6 * self.dim)] * self.blocks

    def pass_bytes(self, shape: PassShape, given: int, buffer: int) -> PassBytes:
        """See `Branch.pass_bytes`. Its narrow blocks hold less than the trunk's."""
        return PassBytes(shape.together * buffer * self.dim // self.embedded, 0)

    def input_bytes(self, pixels: int, passes: int, given: int) -> int:
        """See `Branch.input_bytes`."""
        return 4 * pixels * given * (self.channels - LATENT_CHANNELS)


class Uni3CInput(NamedTuple):
    """What the control net sees.

    `channels` [B, channels, T, h, w]: the noisy latent, the mask of given frames, and the normalised latent of the
    rendered video; `strength` scales what its blocks add, 1 as in training.
    """

    channels: Tensor
    strength: float

    @property
    def branch(self) -> type[Uni3CBranch]:
        """The kind of branch it steers."""
        return Uni3CBranch


class _GatedNorm(nn.Module):
    """LayerNorm that the timestep scales, shifts and gates."""

    def __init__(self, dim: int, time_dim: int, operations: ModuleType) -> None:
        super().__init__()
        self.linear = operations.Linear(time_dim, 3 * dim)
        self.norm = operations.LayerNorm(dim, eps=_NORM_EPS)

    def forward(self, x: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
        """x [B, L, D], time [B, time_dim] -> the normed tokens, and the gate [B, 1, D]."""
        shift, scale, gate = self.linear(time).unsqueeze(1).chunk(3, dim=-1)
        weight, bias = self.norm.weight.to(x.dtype), self.norm.bias.to(x.dtype)
        normed = F.layer_norm(x, x.shape[-1:], weight, bias, self.norm.eps)
        return torch.addcmul(shift, normed, 1 + scale), gate


class Uni3CBlock(nn.Module):
    """Self-attention and feed-forward, both scaled and gated by the timestep."""

    def __init__(self, sizes: DiTConfig, time_dim: int, operations: ModuleType) -> None:
        super().__init__()
        self.norm1 = _GatedNorm(sizes.dim, time_dim, operations)
        self.self_attn = SelfAttention(sizes, operations)
        self.norm2 = _GatedNorm(sizes.dim, time_dim, operations)
        self.ffn = MatrixSequence(
            operations.Linear(sizes.dim, sizes.ffn_dim),
            nn.GELU(approximate="tanh"),
            operations.Linear(sizes.ffn_dim, sizes.dim),
        )

    def forward(self, x: Tensor, time: Tensor, rope: Tensor, execution: Execution) -> Tensor:
        """x [B, L, D], which may be overwritten if the execution says so -> [B, L, D]."""
        normed, gate = self.norm1(x, time)
        attended = self.self_attn(normed, rope, execution)
        del normed
        x = add_gated(x, attended, gate, may_overwrite=execution.may_overwrite)
        del attended
        normed, gate = self.norm2(x, time)
        made = multiply_tokens(self.ffn, normed, execution, run=execution.feed_forward_run)
        return add_gated(x, made, gate, may_overwrite=execution.may_overwrite)


class Uni3CRun:
    """The control net during one pass.

    Args:
        hidden: [B, L, D of its blocks].
        time: [B, D], the activated embedding of the timestep.
        rope: of its heads.
        proj_out: to the trunk's width, one for each block.
        steering: the input that it was made of.
    """

    def __init__(self, hidden: Tensor, time: Tensor, rope: Tensor, proj_out: nn.ModuleList, steering: Uni3CInput):
        self._hidden, self._time, self._rope = hidden, time, rope
        self._layers, self._proj_out = proj_out, iter(proj_out)
        self._steering = steering
        self._whole = hidden.shape[1]

    def part(self, tokens: slice) -> Uni3CRun:
        """See `BranchRun.part`; `after` refuses tokens before those of the video."""
        own, rope = self._hidden[:, tokens].clone(), self._rope[:, tokens]
        run = Uni3CRun(own, self._time, rope, self._layers, self._steering)
        run._whole = self._whole
        return run

    def after(self, block: nn.Module, tokens: Tensor, context: Context, execution: Execution) -> Tensor:
        """Runs a block; gives the trunk's `tokens` [B, L, D] with what it adds to those of the video, the last ones.

        Raises:
            InvalidInputError: they are a part of more than the video's.
        """
        if context.part is not None and context.part.length != self._whole:
            raise unshareable("a model with Uni3C and of pictures before them")
        way = replace(execution, over_video=None, lean=None, look_back=nothing_before)
        self._hidden = way.run(block, self._hidden, self._time, self._rope)
        hidden, project, strength = self._hidden, next(self._proj_out), self._steering.strength
        before = tokens.shape[1] - hidden.shape[1]

        def added(video: Tensor, hidden: Tensor) -> Tensor:
            return torch.add(video, project(hidden), alpha=strength)

        run, may_overwrite = MATRIX_RUN // 2, execution.may_overwrite
        video = update_tokens(added, tokens[:, before:], hidden, run=run, may_overwrite=may_overwrite)
        if may_overwrite and hidden.shape[1] > run:
            return tokens
        return torch.cat([tokens[:, :before], video], dim=1) if before else video


class _GroupNorm(nn.Module):
    """Statistics of groups of channels, in float32."""

    def __init__(self, groups: int, channels: int) -> None:
        super().__init__()
        self.groups = groups
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, ...] -> the same shape."""
        return F.group_norm(x.float(), self.groups, self.weight.float(), self.bias.float()).to(x.dtype)


class _MaskEmbedding(nn.Module):
    """Of masks and camera rays: its tensors are in every file, and published samplers leave it out."""

    def __init__(self, branch: Uni3CBranch, operations: ModuleType) -> None:
        super().__init__()
        width = branch.mask_width
        self.mask_proj = nn.Sequential(
            operations.Conv3d(branch.mask_channels, width, kernel_size=_MASK_STRIDE, stride=_MASK_STRIDE),
            _GroupNorm(width // 8, width),
            nn.SiLU(),
        )
        self.mask_zero_proj = operations.Conv3d(width, branch.embedded, kernel_size=PATCH, stride=PATCH)
