"""Who moves how, for SCAIL and SCAIL-2: reference pictures, a pose video, coloured masks and frames that are kept."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ....common.errors import InvalidInputError, PairingError
from ....common.model_names import THIS_MODEL, ModelNames
from ....common.records import record
from ....common.shapes import TEMPORAL_STRIDE, check_frames, latent_frames, size_text
from ...branches.branch import Trunk
from ...branches.scail import ScailBranch, ScailReference, as_given
from ...config import PATCH, DiTConfig
from ...inputs import DitInputs
from ...rope import RIGHT_BEFORE, FramesBefore, PlacedVideo, TokenPlaces
from ..cut import Cut
from ..in_context import ContextSize, grid_of
from ..start_image import beside

POSE_PART = 2
"""Rows and columns of the video for one of the pose video."""
_AWAY = 120.0
"""How far from the video's places those of poses lie in columns, and those of replaced references in rows."""

ANIMATION = RIGHT_BEFORE
"""References are frames before the video's."""
REPLACEMENT = FramesBefore(shift=(0.0, _AWAY, 0.0), shared=1)
"""References lie elsewhere in space, and the last of them at the time of the video's first frame."""

COLOURS: tuple[tuple[int, int, int], ...] = (
    (1, 1, 1), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 0, 1), (0, 1, 1),
)  # fmt: skip
"""Of the channels of a mask in order, red, green and blue: white, red, green, blue, yellow, magenta, cyan."""
_ON = 225 / 255
"""Above this a part of a colour is on."""


@record(eq=False)
class ScailCharacter:
    """A conditioning item: a reference picture.

    Of several, in the order in which they stand before the video, the last is the main one, with all persons on it; the
    others show more of them.

    Attributes:
        latent: [1 or B, C, 1, h, w], normalised, of a picture of the video's size.
        mask: [1, 28, 1, h, w] of `colour_channels`, who is where in it; None for the first SCAIL.
        places: `ANIMATION`, or `REPLACEMENT` where the video's own scene is kept and the person replaced.

    Source: zai-org/SCAIL; ComfyUI v0.33.0, comfy/model_base.py, WAN21_SCAIL and WAN21_SCAIL2.
    """

    latent: Tensor
    mask: Tensor | None = None
    places: FramesBefore = ANIMATION

    @property
    def branch(self) -> type[ScailBranch]:
        """See `ConditioningItem.branch`."""
        return ScailBranch

    def apply(self, inputs: DitInputs) -> DitInputs:
        """Adds the picture to what steers the model."""
        mask = None if self.mask is None else self.mask.to(inputs.latent)
        reference = ScailReference(self.latent.to(inputs.latent), mask)
        return replace(inputs, steering=(*inputs.steering, reference), before=self.places)

    def window(self, cut: Cut) -> ScailCharacter:
        """What of the picture goes with a rectangle of the clip; it is for all frames."""
        mask = None if self.mask is None else cut.of_picture(self.mask)
        return replace(self, latent=cut.of_picture(self.latent), mask=mask)

    def to(self, device: torch.device) -> ScailCharacter:
        """This item on a device."""
        mask = None if self.mask is None else self.mask.to(device)
        return replace(self, latent=self.latent.to(device), mask=mask)


@record(eq=False)
class KeptFrames:
    """A conditioning item: what of the latent to sample is given and stays (SCAIL-2).

    Attributes:
        mask: [1 or B, 4, T, h, w], 1 = given.
    """

    mask: Tensor

    @property
    def branch(self) -> None:
        """See `ConditioningItem.branch`."""
        return None

    def apply(self, inputs: DitInputs) -> DitInputs:
        """Fills `image_channels` with the mask."""
        return replace(inputs, image_channels=beside(inputs.latent, (self.mask,)))

    def window(self, cut: Cut) -> KeptFrames:
        """What of the mask goes with some of the latent's frames."""
        return KeptFrames(cut.of(self.mask))

    def to(self, device: torch.device) -> KeptFrames:
        """This item on a device."""
        return KeptFrames(self.mask.to(device))


@record(eq=False)
class ScailPose:
    """The poses that the video follows, a clip beside it of half its size.

    Its tokens lie at the times of the video's and between their rows, and so many columns away that none meet.

    Attributes:
        latent: [1 or B, C, T, h / 2, w / 2], normalised; it may end before the video does.
        mask: [1, 28, T, h / 2, w / 2] of `colour_channels`, who is where in it; None for the first SCAIL.

    Source: zai-org/SCAIL; ComfyUI v0.33.0, comfy/ldm/wan/model.py, SCAILWanModel.rope_encode.
    """

    latent: Tensor
    mask: Tensor | None = None

    @property
    def words(self) -> str:
        """See `ClipBeside.words`."""
        return "a pose video of SCAIL"

    @property
    def is_source(self) -> bool:
        """See `ClipBeside.is_source`."""
        return True

    @property
    def size(self) -> ContextSize:
        """See `ClipBeside.size`."""
        return ContextSize(*self.latent.shape[2:], is_source=True, part=POSE_PART)

    def embed(self, trunk: Trunk, device: torch.device) -> Tensor:
        """See `ClipBeside.embed`."""
        channels = as_given(self.latent.to(device))
        tokens = trunk.tokens_of(trunk.get_submodule("patch_embedding_pose"), channels)
        if self.mask is None:
            return tokens
        return tokens + trunk.tokens_of(trunk.get_submodule("patch_embedding_mask"), self.mask.to(device))

    def rope(self, video: PlacedVideo) -> Tensor:
        """See `ClipBeside.rope`."""
        grid = grid_of(self.latent)
        rows, columns = (whole / (own * patch) for whole, own, patch in zip(video.size, grid[1:], PATCH[1:]))
        shift = (float(video.first), (rows - 1) / 2, _AWAY + (columns - 1) / 2)
        return video.beside(grid, TokenPlaces((1.0, rows, columns), shift))

    def check(self, config: DiTConfig, latent: Tensor, names: ModelNames = THIS_MODEL) -> None:
        """See `ClipBeside.check`."""
        branch = config.branch(ScailBranch)
        if branch is None:
            raise ScailBranch.lacking(names)
        frames, sides = self.latent.shape[2], self.latent.shape[-2:]
        is_half = all(own in (whole // 2, -(-whole // 2)) for own, whole in zip(sides, latent.shape[-2:]))
        fits = self.latent.shape[1] == config.out_channels and len(self.latent) in (1, len(latent))
        if not (fits and is_half and frames <= latent.shape[2]):
            raise PairingError(
                f"The pose video has a latent of {size_text(self.latent)}, but the latent to sample has "
                f"{size_text(latent)}. Prepare it for a video of the same length, with half of its width and height."
            )
        if self.mask is None:
            return
        branch.check_masks()
        if self.mask.shape[1:] != (branch.mask_channels, *self.latent.shape[2:]) or len(self.mask) != 1:
            raise PairingError(
                f"The mask of the pose video has the shape {list(self.mask.shape)}, but its latent "
                f"{list(self.latent.shape)} needs {[1, branch.mask_channels, *self.latent.shape[2:]]}. Make both with "
                "the same node."
            )

    def window(self, cut: Cut) -> ScailPose | None:
        """See `ClipBeside.window`; None where the poses have ended before."""
        stop = min(cut.stop, self.latent.shape[2])
        if stop <= cut.start:
            return None
        latent = _of_half(self.latent, cut)[:, :, cut.start : stop]
        mask = None if self.mask is None else _of_half(self.mask, cut)[:, :, cut.start : stop]
        return ScailPose(latent, mask)

    def unshown(self) -> None:
        """See `ClipBeside.unshown`: the model was trained without poses, too."""

    def to(self, device: torch.device) -> ScailPose:
        """This clip on a device."""
        return ScailPose(self.latent.to(device), None if self.mask is None else self.mask.to(device))


def _of_half(tensor: Tensor, cut: Cut) -> Tensor:
    """A rectangle of pictures [..., h / 2, w / 2]; a view."""
    for dim, span in ((-2, cut.rows), (-1, cut.columns)):
        if span is not None:
            start, stop = span.start // POSE_PART, -(-span.stop // POSE_PART)
            tensor = tensor.narrow(dim, start, stop - start)
    return tensor


def colour_channels(masks: Tensor, rows: int, columns: int) -> Tensor:
    """Coloured masks as the model reads them.

    Of every pixel, it is told whether it has one of the seven `COLOURS`; these are averaged over a latent pixel. Each
    latent frame has the colours of its four frames, the first one those of its one frame four times.

    Args:
        masks: [F, H, W, 3], values in 0..1, of 1 + 4k frames.
        rows, columns: of the latent.

    Returns:
        [1, 28, T, rows, columns], float32.

    Raises:
        InvalidInputError: the length is not 1 + 4k.

    Source: zai-org/SCAIL; ComfyUI v0.33.0, comfy_extras/nodes_scail.py, _extract_mask_to_28ch.
    """
    check_frames(len(masks))
    if masks.ndim != 4 or masks.shape[-1] != len(COLOURS[0]):
        raise InvalidInputError(
            f"Coloured masks are pictures [frames, height, width, 3], got {list(masks.shape)}. Give red, green and "
            "blue of each pixel."
        )
    # Frame by frame, since all at once are 28 bytes a pixel.
    found = torch.stack([_averaged(picture, rows, columns) for picture in masks])
    first = found[:1].expand(TEMPORAL_STRIDE, -1, -1, -1)
    whole = torch.cat([first, found[1:]]).view(latent_frames(len(masks)), -1, rows, columns)
    return whole.movedim(0, 1)[None].contiguous()


def _averaged(picture: Tensor, rows: int, columns: int) -> Tensor:
    """[H, W, 3] -> [7, rows, columns]: how much of each latent pixel has each colour."""
    is_on = picture > _ON
    code = is_on[..., 0].int() * 4 + is_on[..., 1].int() * 2 + is_on[..., 2].int()
    of_colours = picture.new_tensor([4 * red + 2 * green + blue for red, green, blue in COLOURS], dtype=torch.int32)
    each = (code == of_colours[:, None, None]).float()
    return F.interpolate(each[None], size=(rows, columns), mode="area")[0]
