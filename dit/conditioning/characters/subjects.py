"""Pictures of subjects that a video shows, behind it in time (Phantom)."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ....common.errors import PairingError
from ....common.model_names import THIS_MODEL, ModelNames
from ....common.records import record
from ...branches.branch import Trunk
from ...config import DiTConfig
from ...rope import PlacedVideo, TokenPlaces
from ..cut import Cut
from ..in_context import ContextSize, grid_of


@record(eq=False)
class SubjectPicture:
    """A clip beside the video: a picture at the time of a frame behind the video's last one.

    It goes through the layers of the video's own tokens. Where it is not shown a blank one stands in its place.

    Attributes:
        latent: [1 or B, C, 1, h, w], normalised, of a picture of the video's size.
        behind: which frame behind the last one, from 0 on.

    Source: Liu et al., "Phantom", arXiv 2502.11079; ComfyUI v0.33.0, comfy/ldm/wan/model.py, WanModel
        (`time_dim_concat`).
    """

    latent: Tensor
    behind: int

    @property
    def words(self) -> str:
        """See `ClipBeside.words`."""
        return "a picture of a subject for Phantom"

    @property
    def is_source(self) -> bool:
        """See `ClipBeside.is_source`."""
        return False

    @property
    def size(self) -> ContextSize:
        """See `ClipBeside.size`."""
        return ContextSize(*self.latent.shape[2:], is_source=False)

    def embed(self, trunk: Trunk, device: torch.device) -> Tensor:
        """See `ClipBeside.embed`."""
        return trunk.tokens_of(trunk.get_submodule("patch_embedding"), self.latent.to(device))

    def rope(self, video: PlacedVideo) -> Tensor:
        """See `ClipBeside.rope`."""
        time = video.first + video.grid[0] + self.behind
        return video.beside(grid_of(self.latent), TokenPlaces(shift=(float(time), 0.0, 0.0)))

    def check(self, config: DiTConfig, latent: Tensor, names: ModelNames = THIS_MODEL) -> None:
        """See `ClipBeside.check`."""
        if config.image_channels:
            raise PairingError(
                f"{names.subject} has channels for given frames beside the latent, and takes no pictures of subjects "
                "for Phantom. Choose a Phantom model, or another text-to-video model."
            )
        if self.latent.shape[1] != config.out_channels or len(self.latent) not in (1, len(latent)):
            raise PairingError(
                f"A picture of a subject for Phantom is {len(self.latent)} latents of {self.latent.shape[1]} channels, "
                f"but the latent to sample is {len(latent)} of {config.out_channels}. Encode it with the model's own "
                "VAE, as one for all videos or one for each."
            )

    def window(self, cut: Cut) -> SubjectPicture:
        """See `ClipBeside.window`: all of it goes with any frames."""
        return self

    def unshown(self) -> SubjectPicture:
        """See `ClipBeside.unshown`: a blank picture."""
        return replace(self, latent=torch.zeros_like(self.latent))

    def to(self, device: torch.device) -> SubjectPicture:
        """This clip on a device."""
        return replace(self, latent=self.latent.to(device))
