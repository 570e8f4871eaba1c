"""HuMo: what is heard, looked at inside every block of the trunk, and a picture of who is seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ....common.errors import FileFault, PairingError
from ....common.model_names import THIS_MODEL, ModelNames
from ....common.records import record
from ....common.shapes import size_text
from ....weights.multiplication import opened
from ...config import DiTConfig
from ...context import Context, Layered
from ...execution import Execution
from ...layers import affine_norm
from ...rope import rope_at
from ..branch import Branch, PassBytes, PassShape, Shapes, Steered, Trunk, WeightCount
from .beside import seen_before
from .frames import AttentionToFrames, add_to_frames, look_by_frame

WINDOW, GROUPS = 8, 5
"""Of what is heard in a latent frame: moments, 25 a second, and groups of the encoder's layers."""
LATENT_CHANNELS, MASK_CHANNELS = 16, 4
_INNER = 512
_WRAPPER = "audio_cross_attn_wrapper"


@record
class HumoBranch(Branch[DiTConfig]):
    """Sound that every latent frame looks at in each block, and a picture at a time after the video's.

    Attributes:
        width: of the sound's features.
        tokens, token_width: of what is heard in a latent frame.
        has_mask: whether the picture is given beside the latent, with a mask, and not in its place (17B).

    Source: Chen et al., "HuMo", arXiv 2509.08519; ComfyUI 0.33.0 comfy/ldm/wan/model.py, HumoWanModel, and
        comfy/model_base.py, WAN21_HuMo.
    """

    name = "humo"
    title = "HuMo"
    roots = ("audio_proj",)
    in_blocks = (_WRAPPER,)
    words = "the sound and the picture of HuMo"
    listens_through = "whisper_large_v3_fp16.safetensors"
    is_always_steered = True
    adds_tokens = True

    width: int = 1280
    tokens: int = 16
    token_width: int = 1536
    has_mask: bool = True

    @classmethod
    def read(cls, tensors: Shapes) -> HumoBranch | None:
        """See `Branch.read`."""
        first = "audio_proj.audio_proj_glob_1.layer.weight"
        if not tensors.has(first):
            return None
        token_width = tensors.size("audio_proj.audio_proj_glob_norm.layer.weight", 0)
        width, rest = divmod(tensors.size(first, 1), WINDOW * GROUPS)
        tokens, more = divmod(tensors.size("audio_proj.audio_proj_glob_3.layer.weight", 0), token_width)
        beside = tensors.size("patch_embedding.weight", 1) - LATENT_CHANNELS
        if rest or more or beside not in (0, MASK_CHANNELS + LATENT_CHANNELS) or tensors.size(first, 0) != _INNER:
            raise FileFault("has the names of HuMo but not its structure", "it is damaged; download it again")
        return cls(width, tokens, token_width, beside > 0)

    @classmethod
    def lacking(cls, names: ModelNames = THIS_MODEL) -> PairingError:
        """See `Branch.lacking`."""
        return PairingError(
            f"{names.subject} is no HuMo model and takes neither its sound nor its picture. Remove them, or choose ",
            *names.file("humo", "a HuMo model"), ".",
        )  # fmt: skip

    def build(self, config: DiTConfig, operations: ModuleType) -> Mapping[str, nn.Module]:
        """See `Branch.build`."""
        return {"audio_proj": HeardMoments(self, operations)}

    def inside(self, config: DiTConfig, operations: ModuleType) -> Mapping[str, nn.Module]:
        """See `Branch.inside`."""
        return {_WRAPPER: HeardByFrame(config, self.token_width, operations)}

    def tokens_before(self, shape: PassShape, given: int) -> int:
        """See `Branch.tokens_before`."""
        return shape.rows * shape.columns if given else 0

    def check(self, given: Sequence[HumoInput], latent: Tensor) -> None:
        """See `Branch.check`."""
        if len(given) > 1:
            raise PairingError(f"There are {len(given)} sounds, and HuMo hears one. Leave one of them.")
        for each in given:
            frames, *moment = each.features.shape[1:]
            if moment != [WINDOW, GROUPS, self.width]:
                raise PairingError(
                    f"The sound has {moment} numbers for a latent frame, and the model hears "
                    f"{[WINDOW, GROUPS, self.width]}. Encode it with {self.listens_through}."
                )
            if frames != latent.shape[2]:
                raise PairingError(
                    f"The sound was prepared for {frames} latent frames, but the video has {latent.shape[2]}. Prepare "
                    "it for a video of the same length."
                )
            pictures = [] if each.picture is None else [each.picture]
            if any(len(tensor) not in (1, len(latent)) for tensor in (each.features, *pictures)):
                raise PairingError(
                    f"Sound and picture are for {len(each.features)} videos, but the latent has {len(latent)}. Give "
                    "one for all, or one for each."
                )
            expected = (latent.shape[1], 1, *latent.shape[-2:])
            if any(picture.shape[1:] != expected for picture in pictures):
                raise PairingError(
                    f"The reference picture was prepared for a latent of {size_text(pictures[0])}, but the latent to "
                    f"sample has {size_text(latent)}. Prepare it for a video of the same size."
                )

    def embed(self, trunk: Trunk, given: Sequence[HumoInput], tokens: Tensor, context: Context) -> Steered:
        """See `Branch.embed`."""
        features, picture = given[-1]
        frames, length = features.shape[1], tokens.shape[1]
        if picture is not None:
            features = F.pad(features, (0, 0, 0, 0, 0, 0, 1, 0))  # nothing is heard of it
            shown = picture
            if self.has_mask:
                mask = torch.ones_like(picture[:, :MASK_CHANNELS])
                shown = torch.cat([torch.zeros_like(picture), mask, picture], dim=1)
            added = trunk.tokens_of(trunk.get_submodule("patch_embedding"), shown)
            rows, columns = (-(-side // 2) for side in picture.shape[-2:])
            places = (torch.tensor([float(frames)]), torch.arange(rows), torch.arange(columns))
            rope = rope_at(2 * context.rope.shape[-1], places, tokens.device)
            tokens, context, *_ = seen_before(tokens, context, added, rope)
            length += added.shape[1]
        heard = trunk.get_submodule("audio_proj")(features.to(trunk.dtype))
        return Steered(tokens, context._replace(heard=InFrames(heard, length)))

    def other_weights(self, config: DiTConfig) -> int:
        """See `Branch.other_weights`."""
        first = (WINDOW * GROUPS * self.width + 1) * _INNER + (_INNER + 1) * _INNER
        return first + (_INNER + 1) * self.tokens * self.token_width + 2 * self.token_width

    def inside_weights(self, config: DiTConfig) -> WeightCount:
        """See `Branch.inside_weights`."""
        dim = config.dim
        return WeightCount(2 * dim**2 + 2 * dim * self.token_width, 4 * dim, 8 * dim)

    def pass_bytes(self, shape: PassShape, given: int, buffer: int) -> PassBytes:
        """See `Branch.pass_bytes`; what is heard is narrower than the tokens."""
        heard = (shape.frames + 1) * self.tokens * buffer // (shape.length or 1)
        return PassBytes(shape.together * heard, 0)

    def input_bytes(self, pixels: int, passes: int, given: int) -> int:
        """See `Branch.input_bytes`: the sound takes less than pictures; of a frame, which nothing tells here, more
        are counted."""
        return 4 * pixels * given * LATENT_CHANNELS


class HumoInput(NamedTuple):
    """What steers HuMo.

    `features` [1 or B, T, moments, groups, width] of the sound in each latent frame; `picture` [1 or B, C, 1, h, w],
    the normalised latent of who is seen, or None.
    """

    features: Tensor
    picture: Tensor | None

    @property
    def branch(self) -> type[HumoBranch]:
        """The kind of branch it steers."""
        return HumoBranch


class HeardMoments(nn.Module):
    """Features of the moments around a latent frame -> what its tokens look at."""

    def __init__(self, branch: HumoBranch, operations: ModuleType) -> None:
        super().__init__()
        self.tokens, width = branch.tokens, branch.token_width
        self.audio_proj_glob_1 = nn.ModuleDict({"layer": operations.Linear(WINDOW * GROUPS * branch.width, _INNER)})
        self.audio_proj_glob_2 = nn.ModuleDict({"layer": operations.Linear(_INNER, _INNER)})
        self.audio_proj_glob_3 = nn.ModuleDict({"layer": operations.Linear(_INNER, self.tokens * width)})
        self.audio_proj_glob_norm = nn.ModuleDict({"layer": operations.LayerNorm(width)})

    def forward(self, features: Tensor) -> Tensor:
        """[B, T, moments, groups, width] -> [B, T, tokens, token_width]."""
        heard = F.relu(self.audio_proj_glob_1["layer"](features.flatten(2)))
        heard = F.relu(self.audio_proj_glob_2["layer"](heard))
        heard = self.audio_proj_glob_3["layer"](heard).unflatten(-1, (self.tokens, -1))
        return self.audio_proj_glob_norm["layer"](heard)


class HeardByFrame(nn.Module):
    """What the tokens of a block add of what is heard in their frames, between the text and the feed-forward layers."""

    def __init__(self, config: DiTConfig, width: int, operations: ModuleType) -> None:
        super().__init__()
        self.audio_cross_attn = AttentionToFrames(config, operations, width)
        self.norm1_audio = operations.LayerNorm(config.dim, eps=config.eps)

    def forward(self, tokens: Tensor, heard: Tensor, length: int, execution: Execution) -> Tensor:
        """Adds it to the last `length` of tokens [B, L, D], which may be overwritten if the execution says so.

        `heard`: [1 or B, T, n, width], in the dtype of computation.
        """
        look = self.audio_cross_attn
        keys, values = look.keys_and_values(heard, execution)
        q, o = (opened(layer, heard, execution.multiply) for layer in (look.q, look.o))

        def made(rows: Tensor, part: slice) -> Tensor:
            queries = look.normed(look.norm_q, q(affine_norm(rows, self.norm1_audio).to(heard.dtype)), execution)
            return o(look_by_frame(queries, keys[:, part], values[:, part]))

        return add_to_frames(tokens, length, heard.shape[1], made, execution)


class InFrames(NamedTuple):
    """What is heard in a pass: `heard` [1 or B, T, n, width], by the last `length` tokens, of as many frames."""

    heard: Tensor
    length: int

    def begin(self, execution: Execution) -> tuple[InFrames, Execution]:
        """See `Heard.begin`."""
        return self, execution

    def added(self, block: Layered, tokens: Tensor, execution: Execution) -> Tensor:
        """See `Heard.added`."""
        layers = block.get_submodule(_WRAPPER)
        return layers(tokens, self.heard, self.length, execution)
