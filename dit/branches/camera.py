"""A camera's path (Wan Fun-Camera): the ray of every pixel, made into something that is added to the video's tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import NamedTuple

from torch import Tensor, nn

from ...common.errors import FileFault, PairingError
from ...common.model_names import THIS_MODEL, ModelNames
from ...common.records import record
from ..config import PATCH, DiTConfig
from ..context import Context
from .branch import Branch, Shapes, Steered, Trunk

PIXELS = 8
"""Pixels of the rays along a side of a latent pixel."""


@record
class CameraBranch(Branch[DiTConfig]):
    """What a camera's path adds to the tokens.

    Attributes:
        channels: of the rays, 24: six numbers for each of the four frames that a latent frame covers.
        residual_blocks: pairs of convolutions.

    Source: comfyanonymous/ComfyUI comfy/ldm/wan/model.py, CameraWanModel and WanCamAdapter.
    """

    name = "camera"
    roots = ("control_adapter",)
    words = "the camera adapter"
    title = "Fun-Camera"
    expected = "was trained with a camera's path, and none is connected: the camera does as it likes"

    channels: int = 24
    residual_blocks: int = 1

    @classmethod
    def read(cls, tensors: Shapes) -> CameraBranch | None:
        """See `Branch.read`."""
        if not tensors.has("control_adapter.conv.weight"):
            return None
        channels, rest = divmod(tensors.size("control_adapter.conv.weight", 1), PIXELS**2)
        if rest or not channels:
            raise FileFault(f"has a camera adapter of {PIXELS**2 * channels + rest} channels, which no Wan model has")
        return cls(channels, tensors.count("control_adapter.residual_blocks."))

    @classmethod
    def lacking(cls, names: ModelNames = THIS_MODEL) -> PairingError:
        """See `Branch.lacking`."""
        return PairingError(
            f"{names.subject} cannot follow a camera's path. Remove the path, or choose ",
            *names.file("camera", "a Fun-Camera model"), ".",
        )  # fmt: skip

    def build(self, config: DiTConfig, operations: ModuleType) -> Mapping[str, nn.Module]:
        """See `Branch.build`."""
        return {"control_adapter": CameraAdapter(self, config.dim, operations)}

    def check(self, given: Sequence[CameraInput], latent: Tensor) -> None:
        """See `Branch.check`."""
        if len(given) > 1:
            raise PairingError(f"There are {len(given)} camera paths, and the model follows one. Leave one of them.")
        frames, height, width = latent.shape[2:]
        for each in given:
            found = (each.rays.shape[2], *(side / PIXELS for side in each.rays.shape[3:]))
            if each.rays.shape[1] != self.channels or found != (frames, height, width):
                raise PairingError(
                    f"The camera's path is made for {each.rays.shape[2]} latent frames of {each.rays.shape[4]} x "
                    f"{each.rays.shape[3]} pixels, but the video has {frames} of {width * PIXELS} x "
                    f"{height * PIXELS}. Make it for a video of the same size and length."
                )
            if height % PATCH[1] or width % PATCH[2]:
                raise PairingError(
                    f"The latent has {width} x {height} pixels, and a camera's path needs even sides. Use a width and "
                    "a height that are multiples of 16."
                )
            if len(each.rays) not in (1, len(latent)):
                raise PairingError(
                    f"There are {len(each.rays)} camera paths, but the latent has {len(latent)} videos. Give one for "
                    "all, or one for each."
                )

    def embed(self, trunk: Trunk, given: Sequence[CameraInput], tokens: Tensor, context: Context) -> Steered:
        """See `Branch.embed`.

        The rays have twelve times the numbers of the tokens, so that they come to the device a latent frame at a time.
        """
        adapter, rays = trunk.get_submodule("control_adapter"), given[-1].rays
        moved = tokens.clone()
        frame_tokens = tokens.shape[1] // rays.shape[2]
        for frame in range(rays.shape[2]):
            seen = adapter(rays[:, :, frame].to(tokens.device, trunk.dtype))  # [1 or B, D, h', w']
            added = seen.flatten(2).transpose(1, 2)
            moved[:, frame * frame_tokens : (frame + 1) * frame_tokens] += added
        return Steered(moved, context)

    def other_weights(self, config: DiTConfig) -> int:
        """See `Branch.other_weights`."""
        dim = config.dim
        patches = (self.channels * PIXELS**2 * PATCH[1] * PATCH[2] + 1) * dim
        return patches + self.residual_blocks * 2 * (9 * dim + 1) * dim


class CameraInput(NamedTuple):
    """A camera's path: `rays` [1 or B, 24, T, 8 h, 8 w], on any device (see `conditioning.camera`)."""

    rays: Tensor

    @property
    def branch(self) -> type[CameraBranch]:
        """The kind of branch it steers."""
        return CameraBranch


class CameraAdapter(nn.Module):
    """The rays of the pixels under a token -> its width."""

    def __init__(self, branch: CameraBranch, dim: int, operations: ModuleType) -> None:
        super().__init__()
        self.pixel_unshuffle = nn.PixelUnshuffle(PIXELS)
        self.conv = operations.Conv2d(branch.channels * PIXELS**2, dim, kernel_size=PATCH[1:], stride=PATCH[1:])
        self.residual_blocks = nn.Sequential(*(ResidualPair(dim, operations) for _ in range(branch.residual_blocks)))

    def forward(self, rays: Tensor) -> Tensor:
        """[B, channels, 8 h, 8 w] -> [B, D, h / 2, w / 2]."""
        return self.residual_blocks(self.conv(self.pixel_unshuffle(rays)))


class ResidualPair(nn.Module):
    """Two convolutions, whose result is added to what they were given."""

    def __init__(self, dim: int, operations: ModuleType) -> None:
        super().__init__()
        self.conv1 = operations.Conv2d(dim, dim, kernel_size=3, padding=1)
        self.relu = nn.ReLU()
        self.conv2 = operations.Conv2d(dim, dim, kernel_size=3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, D, h, w] -> [B, D, h, w]."""
        return x + self.conv2(self.relu(self.conv1(x)))
