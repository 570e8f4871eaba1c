"""The face of a video (Wan-Animate): encoded frame by frame, and looked at by blocks of its own between the trunk's."""

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
from ...config import DiTConfig
from ...context import Context, frame_pieces
from ...execution import Execution
from ..branch import Branch, PassBytes, PassShape, Shapes, Steered, Trunk, WeightCount
from .adapter import FaceAdapter
from .motion import MotionEncoder, MotionSizes, read_motion
from .pose import REFERENCE_FRAMES

EVERY = 5
"""After each block of the trunk whose number is a multiple of this, one of its own looks at the face."""
_KERNEL = 3
HALVINGS = 2
"""Times that the frames of a face are halved in number: four become one latent frame."""


@record
class FaceBranch(Branch[DiTConfig]):
    """A face that every latent frame of the video looks at as it is at that time.

    Attributes:
        blocks: of its own.
        motion: sizes of what looks at each frame.
        width: of the convolutions over time.
        tokens: of a latent frame; one more, the same for all frames, stands behind them.

    Source: Wan-Video/Wan2.2 wan/modules/animate/face_blocks.py and model_animate.py.
    """

    name = "animate_face"
    roots = ("motion_encoder", "face_encoder", "face_adapter")
    words = "a face"
    title = "Wan-Animate"

    blocks: int
    motion: MotionSizes = MotionSizes()
    width: int = 1024
    tokens: int = 4

    @classmethod
    def read(cls, tensors: Shapes) -> FaceBranch | None:
        """See `Branch.read`."""
        if not tensors.has("face_adapter.fuser_blocks.0.linear1_q.weight"):
            return None
        width = tensors.size("face_encoder.conv2.conv.weight", 1)
        tokens, rest = divmod(tensors.size("face_encoder.conv1_local.conv.weight", 0), width)
        if rest or not tokens:
            raise FileFault("has an encoder of faces whose layers do not fit each other", "it is damaged; get it again")
        return cls(tensors.count("face_adapter.fuser_blocks."), read_motion(tensors), width, tokens)

    @classmethod
    def lacking(cls, names: ModelNames = THIS_MODEL) -> PairingError:
        """See `Branch.lacking`."""
        return PairingError(
            f"{names.subject} cannot follow a face. Remove the face video, or choose ",
            *names.file("animate", "a Wan-Animate model"), ".",
        )  # fmt: skip

    def own_blocks(self, layers: int) -> Mapping[int, Sequence[str]]:
        """See `Branch.own_blocks`."""
        return {EVERY * number: (f"face_adapter.fuser_blocks.{number}",) for number in range(self._used(layers))}

    def _used(self, layers: int) -> int:
        return min(self.blocks, -(-layers // EVERY))

    def check_layers(self, layers: int) -> None:
        """See `Branch.check_layers`."""
        if self._used(layers) != self.blocks:
            raise FileFault(
                f"has {self.blocks} blocks that look at a face for {layers} blocks, and Wan-Animate has one for every "
                f"{EVERY}",
                "it is damaged; download it again",
            )

    def build(self, config: DiTConfig, operations: ModuleType) -> Mapping[str, nn.Module]:
        """See `Branch.build`."""
        return {
            "motion_encoder": MotionEncoder(self.motion),
            "face_encoder": FaceEncoder(self, config.dim, operations),
            "face_adapter": FaceAdapter(self.blocks, config, operations),
        }

    def check(self, given: Sequence[FaceInput], latent: Tensor) -> None:
        """See `Branch.check`."""
        if len(given) > 1:
            raise PairingError(f"There are {len(given)} face videos, and the model follows one. Leave one of them.")
        side = self.motion.side
        for each in given:
            pixels = each.pixels
            if pixels.shape[1] != 3 or pixels.shape[2] < 1 or pixels.shape[3:] != (side, side):
                raise PairingError(
                    f"The face video has the shape {list(pixels.shape)}, and this model takes [1, 3, frames, {side}, "
                    f"{side}]. Prepare it for this model."
                )
            if len(pixels) not in (1, len(latent)):
                raise PairingError(
                    f"There are {len(pixels)} face videos, but the latent has {len(latent)} videos. Give one for all, "
                    "or one for each."
                )

    def embed(self, trunk: Trunk, given: Sequence[FaceInput], tokens: Tensor, context: Context) -> Steered:
        """See `Branch.embed`.

        The pictures have more numbers than the tokens and are encoded one at a time, so that few are on the device.
        """
        motion, encoder = trunk.get_submodule("motion_encoder"), trunk.get_submodule("face_encoder")
        pixels, frames, before = given[-1]
        seen = [motion(each.to(tokens.device, trunk.dtype)) for each in pixels.unbind(2)]  # each [1 or B, features]
        faces = encoder(torch.stack(seen, dim=1))[:, before:]  # [1 or B, T', N, D]
        # Nothing of the reference's frame, and nothing of frames after the face's end, is zero.
        missing = frames - REFERENCE_FRAMES - faces.shape[1]
        faces = F.pad(faces[:, : faces.shape[1] + min(missing, 0)], (0, 0, 0, 0, REFERENCE_FRAMES, max(missing, 0)))
        return Steered(tokens, context, ShownFace(faces))

    def other_weights(self, config: DiTConfig) -> int:
        """See `Branch.other_weights`."""
        width = self.width
        first = (_KERNEL * self.motion.features + 1) * width * self.tokens
        encoder = first + HALVINGS * (_KERNEL * width + 1) * width + (width + 1) * config.dim + config.dim
        return self.motion.elements + encoder

    def block_weights(self, config: DiTConfig, block: WeightCount) -> Sequence[WeightCount]:
        """See `Branch.block_weights`. Casting and most quantised files leave them in 16 bits."""
        own = WeightCount(0, 0, 4 * config.dim**2 + 4 * config.dim + 2 * config.head_dim)
        return [own] * self.blocks

    def pass_bytes(self, shape: PassShape, given: int, buffer: int) -> PassBytes:
        """See `Branch.pass_bytes`."""
        faces = shape.batch * shape.frames * (self.tokens + 1) * buffer // max(shape.tokens, 1)
        return PassBytes(shape.together * faces, 0, starting=self.motion.working_bytes(2))


class FaceInput(NamedTuple):
    """A face.

    `pixels` [1 or B, 3, F, side, side] in -1..1, on any device; `frames`: latent frames of the pass, that of the
    reference among them; `before`: latent frames at the beginning of the face that are only there to be heard from
    (see `conditioning.characters.animate`).
    """

    pixels: Tensor
    frames: int
    before: int = 0

    @property
    def branch(self) -> type[FaceBranch]:
        """The kind of branch it steers."""
        return FaceBranch


class ShownFace:
    """A face in one forward pass: `faces` [1 or B, T, N, D] of each latent frame."""

    def __init__(self, faces: Tensor) -> None:
        self._faces = faces

    def part(self, tokens: slice) -> ShownFace:
        """See `BranchRun.part`; which tokens there are is told by the context."""
        return self

    def after(self, block: nn.Module, tokens: Tensor, context: Context, execution: Execution) -> Tensor:
        """See `BranchRun.after`: each latent frame looks at a face of its own."""
        if context.part is None:
            return execution.run(block, tokens, self._faces)
        part, length = context.whole_of(slice(0, tokens.shape[1]), tokens.shape[1])
        made = [
            execution.run(block, tokens[:, piece.rows], self._faces[:, piece.frames])
            for piece in frame_pieces(part, 0, length // self._faces.shape[1])
        ]
        return tokens if execution.may_overwrite else torch.cat(made, dim=1)


class FaceEncoder(nn.Module):
    """Motion of each frame -> tokens of each latent frame, which know the frames before."""

    def __init__(self, branch: FaceBranch, dim: int, operations: ModuleType) -> None:
        super().__init__()
        width = branch.width
        self.tokens = branch.tokens
        self.conv1_local = EarlierConv(branch.motion.features, width * branch.tokens, operations)
        self.conv2 = EarlierConv(width, width, operations, stride=2)
        self.conv3 = EarlierConv(width, width, operations, stride=2)
        self.out_proj = operations.Linear(width, dim)
        self.padding_tokens = nn.Parameter(torch.zeros(1, 1, 1, dim))

    def forward(self, motion: Tensor) -> Tensor:
        """[B, F, features] -> [B, T, tokens + 1, D]."""
        batch = len(motion)
        x = self.conv1_local(motion.transpose(1, 2))  # [B, tokens * width, F]
        x = _normed(x.unflatten(1, (self.tokens, -1)).flatten(0, 1))  # [B * tokens, width, F]
        x = _normed(self.conv2(x))
        x = self.out_proj(_normed(self.conv3(x)).transpose(1, 2))  # [B * tokens, T, D]
        faces = x.unflatten(0, (batch, self.tokens)).transpose(1, 2)
        padding = self.padding_tokens.to(faces.dtype).expand(batch, faces.shape[1], 1, -1)
        return torch.cat([faces, padding], dim=2)


class EarlierConv(nn.Module):
    """A convolution over frames and those before them; before the first one stands the first one."""

    def __init__(self, narrow: int, wide: int, operations: ModuleType, *, stride: int = 1) -> None:
        super().__init__()
        self.conv = operations.Conv1d(narrow, wide, _KERNEL, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        """[B, narrow, F] -> [B, wide, F / stride]."""
        return self.conv(F.pad(x, (_KERNEL - 1, 0), mode="replicate"))


def _normed(x: Tensor) -> Tensor:
    """x [B, C, F], each frame normed over its channels, statistics in float32."""
    frames = x.transpose(1, 2)
    return F.silu(F.layer_norm(frames, frames.shape[-1:], eps=1e-6)).transpose(1, 2)
