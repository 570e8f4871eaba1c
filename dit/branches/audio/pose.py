"""The poses of Wan S2V: a video that is added to the tokens, and what tells these from those of pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import NamedTuple

from torch import Tensor, nn

from ....common.errors import PairingError
from ....common.model_names import THIS_MODEL, ModelNames
from ....common.records import record
from ....common.shapes import size_text
from ...config import PATCH, DiTConfig
from ...context import Context
from ..branch import Branch, Shapes, Steered, Trunk
from .beside import VIDEO, role


@record
class SpeechPoseBranch(Branch[DiTConfig]):
    """What a pose video adds to the tokens; without poses, what the model was trained to see in their place.

    Attributes:
        channels: of the latent.

    Source: Wan-Video/Wan2.2 wan/modules/s2v/model_s2v.py, WanModel_S2V (`cond_encoder`).
    """

    name = "s2v_pose"
    roots = ("cond_encoder",)
    words = "the poses of S2V"
    is_always_steered = True

    channels: int = 16

    @classmethod
    def read(cls, tensors: Shapes) -> SpeechPoseBranch | None:
        """See `Branch.read`."""
        return cls(tensors.size("cond_encoder.weight", 1)) if tensors.has("cond_encoder.weight") else None

    @classmethod
    def lacking(cls, names: ModelNames = THIS_MODEL) -> PairingError:
        """See `Branch.lacking`."""
        return PairingError(
            f"{names.subject} is no speech-to-video model and takes no sound with poses. Remove them, or choose ",
            *names.file("speech", "a Wan S2V model"), ".",
        )  # fmt: skip

    def build(self, config: DiTConfig, operations: ModuleType) -> Mapping[str, nn.Module]:
        """See `Branch.build`."""
        return {"cond_encoder": operations.Conv3d(self.channels, config.dim, kernel_size=PATCH, stride=PATCH)}

    def check(self, given: Sequence[SpeechPoseInput], latent: Tensor) -> None:
        """See `Branch.check`."""
        if len(given) > 1:
            raise PairingError(f"There are {len(given)} pose videos, and the model follows one. Leave one of them.")
        for each in given:
            if each.latent is None:
                continue
            expected = (self.channels, *latent.shape[2:])
            if each.latent.shape[1:] != expected or len(each.latent) not in (1, len(latent)):
                raise PairingError(
                    f"The pose video was prepared for a latent of {size_text(each.latent)}, but the latent to sample "
                    f"has {size_text(latent)}. Prepare it for a video of the same size and length."
                )

    def embed(self, trunk: Trunk, given: Sequence[SpeechPoseInput], tokens: Tensor, context: Context) -> Steered:
        """See `Branch.embed`.

        Poses are embedded a latent frame at a time, so that there are never three buffers of tokens.
        """
        encoder, latent = trunk.get_submodule("cond_encoder"), given[-1].latent
        of_all = role(trunk, VIDEO)
        if latent is None:
            of_all = of_all + trunk.tokens_of(encoder, tokens.new_zeros(1, self.channels, *PATCH)).float()
        moved = tokens + of_all.to(tokens.dtype)
        for frame, part in enumerate(() if latent is None else latent.split(1, dim=2)):
            added = trunk.tokens_of(encoder, part)
            moved[:, frame * added.shape[1] : (frame + 1) * added.shape[1]] += added
        return Steered(moved, context)

    def other_weights(self, config: DiTConfig) -> int:
        """See `Branch.other_weights`."""
        return (self.channels * PATCH[0] * PATCH[1] * PATCH[2] + 1) * config.dim

    def input_bytes(self, pixels: int, passes: int, given: int) -> int:
        """See `Branch.input_bytes`."""
        return 4 * pixels * given * self.channels


class SpeechPoseInput(NamedTuple):
    """Poses: the normalised `latent` [1 or B, C, T, h, w] of their video; None for none."""

    latent: Tensor | None

    @property
    def branch(self) -> type[SpeechPoseBranch]:
        """The kind of branch it steers."""
        return SpeechPoseBranch
