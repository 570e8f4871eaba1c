"""Wan-Animate-2: a pose video goes through the trunk's own blocks beside the video, and each frame sees its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ...common.errors import InvalidInputError, PairingError
from ...common.model_names import THIS_MODEL, ModelNames
from ...common.places import Place
from ...common.records import record
from ...common.shapes import size_text
from ..attention import Pattern, every_token
from ..config import PATCH, DiTConfig
from ..context import Context, Posed, PoseTokens
from ..execution import Execution, unshared
from ..rope import TokenPlaces, make_rope
from .branch import Branch, PassBytes, PassShape, Shapes, Steered, Trunk
from .pose_memory import PoseSlot, StreamSize

POSES = Place("poses", "the reference picture and pose video of Wan-Animate-2")

MASK_CHANNELS = 4
"""Of the pose video's frames, all of which are given."""

_PAIRS = 64
"""Turns of a token, in published models."""

POSE_TIMESTEP = 1.0
"""At which the pose video goes through the blocks, whatever the noise level of the video."""


@record
class PoseBranch(Branch[DiTConfig]):
    """A model that sees poses. Its tensors are those of an image-to-video model: only a header or a name tells.

    Source: Wan-Video/Wan-Animate-2; diffusers models/transformers/transformer_wan_animate_2.py (0.42.1); ComfyUI
        v0.33.0, comfy/ldm/wan/model_animate2.py.
    """

    name = "pose"
    roots = ()
    words = "Wan-Animate-2"
    title = "Animate-2"

    @classmethod
    def read(cls, tensors: Shapes) -> None:
        """Tensors never tell, see `with_said`."""

    @classmethod
    def lacking(cls, names: ModelNames = THIS_MODEL) -> PairingError:
        """See `Branch.lacking`."""
        found = f"{names.subject} sees no pose video beside the one to make. Remove it, or choose "
        return PairingError(found, *names.file("pose", "a Wan-Animate-2 model"), ".")

    @classmethod
    def unsteered(cls, names: ModelNames = THIS_MODEL) -> PairingError:
        """See `Branch.unsteered`: as a plain image-to-video model it makes bad videos."""
        return PairingError(
            f"{names.subject} shows someone of a reference picture moving as in a pose video, and needs both. Connect ",
            POSES, " between the prompt and the sampler, or choose a plain image-to-video model such as "
            "wan2.1_i2v_480p_14B_bf16.safetensors.",
        )  # fmt: skip

    def build(self, config: DiTConfig, operations: ModuleType) -> Mapping[str, nn.Module]:
        """Nothing: all layers are the trunk's."""
        return {}

    def check(self, given: Sequence[PoseInput], latent: Tensor) -> None:
        """See `Branch.check`."""
        if len(given) > 1:
            raise PairingError(f"There are {len(given)} pose videos, and the model follows one. Leave one of them.")
        for each in given:
            poses = each.latent
            if poses is None:
                continue
            expected = (latent.shape[1], latent.shape[2] - 1, *latent.shape[-2:])
            if poses.shape[1:] != expected or len(poses) not in (1, len(latent)):
                raise PairingError(
                    f"The pose video was prepared for a latent of {size_text(poses)}, but the latent to sample has "
                    f"{size_text(latent)}, its first frame the reference picture's. Connect the LATENT of the node "
                    "that prepared the poses."
                )

    def embed(self, trunk: Trunk, given: Sequence[PoseInput], tokens: Tensor, context: Context) -> Steered:
        """See `Branch.embed`."""
        pose = given[-1]
        posed = Posed(pose.frames, pose.reference_strength, pose.first_frame_bias)
        if pose.latent is None:
            return Steered(tokens, context._replace(posed=posed))
        return Steered(tokens, context, companion=PoseRun(trunk, pose, posed, 2 * context.rope.shape[-1]))

    def other_weights(self, config: DiTConfig) -> int:
        """See `Branch.other_weights`."""
        return 0

    def pass_bytes(self, shape: PassShape, given: int, buffer: int) -> PassBytes:
        """See `Branch.pass_bytes`: while blocks run, each pass has the tokens of its poses, and their turns."""
        length = (shape.frames - 1) * shape.rows * shape.columns
        return PassBytes(0, shape.together * (buffer * length // shape.length + 8 * length * _PAIRS))

    def input_bytes(self, pixels: int, passes: int, given: int) -> int:
        """See `Branch.input_bytes`."""
        return 4 * pixels * given * (16 + MASK_CHANNELS + 16)


class PoseInput(NamedTuple):
    """What steers such a model.

    Attributes:
        frames: latent frames of the pass, the reference picture's included.
        latent: [1 or B, C, T - 1, h, w], of the pose video, normalised; None where none is shown.
        text: [1 or B, text_tokens, text_dim], of the pose video.
        features: [1 or B, tokens, clip width], of its first picture; None without.
        strength: how much the values of the poses count; 1 as trained.
        reference_strength: the same of the reference picture.
        first_frame_bias: added to the logits of the keys of the video's first latent frame; 0 is off.
    """

    frames: int
    latent: Tensor | None
    text: Tensor
    features: Tensor | None
    strength: float = 1.0
    reference_strength: float = 1.0
    first_frame_bias: float = 0.0

    @property
    def branch(self) -> type[PoseBranch]:
        """The kind of branch it steers."""
        return PoseBranch

    @property
    def of_stream(self) -> tuple[Tensor, ...]:
        """All that the way of the pose video through the blocks depends on, beside the weights."""
        return tuple(each for each in (self.latent, self.text, self.features) if each is not None)


class PoseRun:
    """The way of a pose video through the blocks during one pass, see `Companion`.

    Where the tokens that enter a block are kept, none are made.

    Args:
        posed: how the video looks, without poses.
    """

    def __init__(self, trunk: Trunk, pose: PoseInput, posed: Posed, head_dim: int) -> None:
        assert pose.latent is not None, "something is shown"
        blocks = trunk.get_submodule("blocks")
        assert isinstance(blocks, nn.ModuleList), "the trunk has a list of blocks"
        self._trunk, self._pose, self._posed, self._latent = trunk, pose, posed, pose.latent
        self._batch, self._blocks = max(map(len, pose.of_stream)), len(blocks)
        grid = tuple(-(-size // patch) for size, patch in zip(pose.latent.shape[2:], PATCH))
        # In time with the frames behind the picture, and beside the video in space.
        places = TokenPlaces(shift=(1.0, 0.0, float(grid[2])))
        self._rope = make_rope(head_dim, (grid[0], grid[1], grid[2]), pose.latent.device, places)
        self._length = self._rope.shape[1]
        timesteps = torch.full((self._batch, 1), POSE_TIMESTEP, dtype=torch.float32, device=pose.latent.device)
        _, self._modulation = trunk.time_of(timesteps)
        self._tokens: Tensor | None = None
        self._context: Context | None = None
        self._slot: PoseSlot | None = None

    def seen(self, index: int, context: Context, execution: Execution) -> Context:
        """See `Companion.seen`.

        Raises:
            InvalidInputError: attention is sparse in the video.
        """
        check_pattern(execution.pattern)
        poses = PoseTokens(self._shown(index, execution), self._modulation, self._rope, self._pose.strength)
        return context._replace(posed=self._posed._replace(poses=poses, is_part=context.part is not None))

    def follow(self, block: nn.Module, index: int, execution: Execution) -> None:
        """See `Companion.follow`."""
        slot, following = self._slot_of(execution), index + 1
        if slot.has(following) or following == self._blocks:
            self._tokens = None
            return
        tokens, self._tokens = self._own(index, slot), None
        tokens = replace(execution, shared=unshared).run(block, tokens, self._own_context())  # all of it is here
        slot.put(following, tokens)
        self._tokens = tokens

    def _shown(self, index: int, execution: Execution) -> Tensor:
        """The tokens that enter a block, as the video sees them: in the first pass as in all that follow."""
        slot, memory = self._slot_of(execution), execution.pose_memory
        if slot.has(index) and (self._tokens is None or not memory.is_exact):
            return slot.take(index, self._latent.device)
        own = self._own(index, slot)
        return memory.as_kept(own) if index else own  # what enters the first block is made anew in every pass

    def _own(self, index: int, slot: PoseSlot) -> Tensor:
        """The tokens that enter a block, which may be overwritten."""
        if self._tokens is None:
            # Where a pass did not come to its end, those of later blocks are not kept.
            kept = slot.take(index, self._latent.device).clone() if slot.has(index) else None
            self._tokens = self._embedded() if kept is None else kept
        return self._tokens

    def _embedded(self) -> Tensor:
        latent = self._latent
        mask = latent.new_ones(len(latent), MASK_CHANNELS, *latent.shape[2:])
        embedding = self._trunk.get_submodule("patch_embedding")
        tokens = self._trunk.tokens_of(embedding, torch.cat([latent, mask, latent], dim=1))
        return tokens.expand(self._batch, -1, -1).contiguous()

    def _own_context(self) -> Context:
        """What the blocks see beside the poses' tokens."""
        if self._context is None:
            trunk, features = self._trunk, self._pose.features
            text = trunk.text_of(self._pose.text).expand(self._batch, -1, -1)
            image = None
            if features is not None:
                image = trunk.get_submodule("img_emb")(features.to(trunk.dtype)).expand(self._batch, -1, -1)
            self._context = Context(self._modulation, self._rope, text, image)
        return self._context

    def _slot_of(self, execution: Execution) -> PoseSlot:
        if self._slot is None:
            width, itemsize = self._modulation.shape[-1], self._trunk.token_dtype.itemsize
            size = StreamSize(self._batch * self._length, width, itemsize, self._blocks)
            self._slot = execution.pose_memory.slot(self._pose.of_stream, size)
        return self._slot


def check_pattern(pattern: Pattern) -> None:
    """Refuses attention that is sparse in the video: frames see all of it and their poses.

    Raises:
        InvalidInputError: it is.
    """
    if pattern is not every_token:
        raise InvalidInputError(
            "Attention that is sparse in the video has no place for the poses of Wan-Animate-2. Choose attention "
            "'sdpa', or another one that is not sparse."
        )
