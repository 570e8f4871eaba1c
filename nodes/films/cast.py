"""The models that take part in a film, and how each goes on from given frames."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...common.checking import instance_of, object_with
from ...common.errors import PairingError
from ...common.records import record
from ...common.shapes import VideoShape
from ...dit.branches.vace import VaceBranch
from ...dit.conditioning.vace import mask_channels, split_by_mask
from ...engine.resuming.digest import NoDigest
from ...engine.resuming.identity import code_identity, model_identity, placed_identity
from ...model_loading.pairing import check_pair, check_same_size
from ..conditioning.clip_image import joined_clip_vision, looks_at_both
from ..conditioning.entries import with_values
from ..conditioning.keyframes import given_frames, given_in_latent, keyframe_values
from ..conditioning.vace import with_vace
from ..sockets.latents import check_video_size, empty_latent, family_of
from ..sockets.models import WanClipVision, WanModel, WanTextEncoder, WanVAE
from ..vace import control_clip


class Prepared(NamedTuple):
    """What the sampler of a clip is given: both CONDITIONINGs and the LATENT."""

    positive: list
    negative: list
    latent: dict[str, Any]


@record(eq=False)
class FilmCast:
    """The models of a film.

    Attributes:
        model: makes every clip that goes on from another.
        first_model: makes the first clip in its place; None where there is none.
        vae: ours or a native one.
        clip_vision: looks at the first given frame, for models that want that; None without.
    """

    model: WanModel
    first_model: WanModel | None
    vae: Any
    clip_vision: Any | None

    def model_of(self, clip: int) -> WanModel:
        """Who makes a clip."""
        return self.model if clip or self.first_model is None else self.first_model

    def check(self, text_encoder: Any, video: VideoShape, clips: int, *, has_start: bool, ends: int = 0) -> None:
        """Refuses what does not go together, before anything is encoded.

        Args:
            video: the size of a clip.
            clips: how many there are.
            has_start: whether the first clip begins with a start image.
            ends: how many clips, the first ones, end with a given picture.

        Raises:
            WanDirectorError: the sentence about it.
        """
        check_video_size(video.width, video.height, video.frames, family_of(self.vae))
        object_with(self.vae, "decode", "The VAE must be one that decodes", "Connect Load Wan VAE.")
        if isinstance(self.vae, WanVAE):
            check_same_size(self.vae.spec, "each clip goes on from the pictures of the one before")
        named = {"model": self.model} | ({} if self.first_model is None else {"first_model": self.first_model})
        for name, model in named.items():
            instance_of(model, WanModel, name, "the model of Load Wan Model")
            if model.spec.config.source_channels:
                raise PairingError(
                    f"{_named(model)} edits a clip that is there and makes no film. Connect a model that makes videos, "
                    "or edit the finished film with Wan Source Video and Wan Sampler."
                )
            for partner in (self.vae, text_encoder, self.clip_vision):
                if isinstance(partner, WanVAE | WanTextEncoder | WanClipVision):
                    check_pair(model.spec, partner.spec)
        first = self.model_of(0)
        if has_start and not _goes_on(first):
            raise PairingError(*_cannot_begin(first, is_model=first is self.model))
        self._check_ends(ends)
        if not has_start and not ends and first.spec.start_image == "required":
            raise PairingError(
                f"{_named(first)} needs a start image. Connect one as start_image, or a text-to-video model as "
                "first_model, which makes the first clip without one."
            )
        if clips > 1 and not _goes_on(self.model):
            raise PairingError(
                f"{_named(self.model)} takes no given frames, so it cannot go on from the clip before. Connect an "
                "image-to-video, TI2V-5B or VACE model as model, and this one as first_model if it is to begin."
            )

    def prepare(
        self, clip: int, sides: tuple[list, list], video: VideoShape, given: Tensor | None, end: Tensor | None = None
    ) -> Prepared:
        """What the sampler of a clip is given, which begins with the given frames [n, H, W, 3] in 0..1.

        Args:
            end: the frame that it ends with, [1, H, W, 3].
        """
        model, latent = self.model_of(clip), empty_latent(self.vae, video.width, video.height, video.frames, 1)
        if given is None and end is None:
            return Prepared(*sides, latent)
        values = self._seen(model, given, end)
        if _is_in_latent(model):
            latent = given_in_latent(self.vae, given_frames(video.frames, given, None, ()), "crop", video, latent)
        elif model.spec.start_image != "none":
            values |= keyframe_values(self.vae, given_frames(video.frames, given, end, ()), video, "crop")
        else:
            sides = self._controlled(sides, video, given, end)
        positive, negative = (with_values(side, values) for side in sides)
        return Prepared(positive, negative, latent)

    def identity(self, clip: int) -> Any:
        """What of a clip its models decide, and the code that prepares it for them.

        Raises:
            NoDigest: it cannot be known.
        """
        others = [placed_identity(_placed(part)) for part in (self.vae, self.clip_vision) if part is not None]
        return model_identity(self.model_of(clip)), others, code_identity("nodes")

    def _check_ends(self, ends: int) -> None:
        if ends and _is_in_latent(self.model):
            raise PairingError(
                f"{_named(self.model)} takes given frames at the beginning of a clip alone. Remove the end_images, or "
                "connect an image-to-video 14B or VACE model."
            )
        first = self.model_of(0)
        if ends and (not _goes_on(first) or _is_in_latent(first)):
            raise PairingError(
                f"{_named(first)} makes the first clip and takes no frame that it ends with. Remove the end_images, or "
                "let model begin, with a start_image."
            )

    def _seen(self, model: WanModel, given: Tensor | None, end: Tensor | None) -> dict[str, Any]:
        """CLIP's features of the first given frame; of both, where a model was trained on two (FLF2V)."""
        if self.clip_vision is None:
            return {}
        has_both = given is not None and end is not None and looks_at_both(model.spec.config)
        pictures = [picture[:1] for picture in (given, end) if picture is not None][: 2 if has_both else 1]
        start, last = ([self.clip_vision.encode_image(picture, crop=False) for picture in pictures] + [None])[:2]
        return joined_clip_vision(start, last)

    def _controlled(
        self, sides: tuple[list, list], video: VideoShape, given: Tensor | None, end: Tensor | None
    ) -> tuple[list, list]:
        """The prompts with a control video for VACE that begins and ends with the given frames, and is free between."""
        masks = torch.ones(video.frames, video.height, video.width)
        shown = [] if given is None else [given]
        masks[: sum(map(len, shown))] = 0
        if end is not None:
            masks[-1:] = 0
            free = video.frames - 1 - sum(map(len, shown))
            shown += [torch.full((free, video.height, video.width, 3), 0.5), end]  # what is made anew is grey
        clip, mask = control_clip(torch.cat(shown), masks, video)
        control = torch.cat([self.vae.encode(part) for part in split_by_mask(clip, mask)], dim=1)
        channels = mask_channels(mask, 0, self.vae.spacial_compression_encode())
        positive, negative = (with_vace(self.vae, side, control, channels, 1.0) for side in sides)
        return positive, negative


def _is_in_latent(model: WanModel) -> bool:
    """Whether a model takes given frames in its latent, the first ones alone."""
    return model.spec.family.given_in_latent and not model.spec.config.image_channels


def _goes_on(model: WanModel) -> bool:
    """Whether a model takes given frames."""
    spec = model.spec
    has_room = spec.family.given_in_latent or spec.start_image != "none"
    return has_room or spec.config.branch(VaceBranch) is not None


def _cannot_begin(model: WanModel, *, is_model: bool) -> tuple[str]:
    named = _named(model)
    if is_model:
        return (f"{named} takes no given frames. Connect an image-to-video model, or remove the start_image.",)
    return (
        f"There is a start_image, and {named} as first_model, which takes none. Remove one of them: without "
        "first_model, model begins with the start image.",
    )


def _named(model: WanModel) -> str:
    return f"{model.file} ({model.spec.title})"


def _placed(part: Any) -> Any:
    if not isinstance(part, WanVAE | WanClipVision):
        raise NoDigest("a VAE or CLIP vision encoder that another node has loaded")
    return part.placed
