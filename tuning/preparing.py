"""From the files of a dataset to what the steps learn from: latents, texts and what else the model is told."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ..common.buckets import batches
from ..common.errors import InvalidInputError
from ..common.shapes import VideoShape
from ..dit.branches.vace import VaceBranch
from ..dit.conditioning.start_image import KeyframeImages, keyframe_mask, keyframe_video
from ..dit.conditioning.vace import VaceControl, mask_channels, split_by_mask
from ..dit.inputs import Conditioning, ConditioningItem
from ..engine import PlacedModel, SamplerSettings, VideoModel, embed_prompt, empty_latent, encode, run_sampler
from ..model_loading.pairing import check_pair
from .batch import TrainingBatch, joined
from .cache import kept
from .datasets import ClipFile, DatasetPart, PictureShape, read_beside, read_clip
from .experts import ALONE, Alone, Partner
from .objective import seeded
from .settings import GivenKind, PriorSettings, SampleSettings

FoundClip = tuple[ClipFile, DatasetPart]


class Encoders(NamedTuple):
    """What makes clips and captions into what the transformer learns from, and the folder that keeps it.

    `partner`: with which the model makes the clips of a prior.
    """

    model: VideoModel
    text: PlacedModel
    vae: PlacedModel
    folder: Path
    partner: Alone | Partner = ALONE

    def check(self, given: GivenKind, prior: PriorSettings) -> None:
        """Refuses models that do not go together, or that are not trained so.

        Raises:
            PairingError: a text encoder or VAE of another family.
            InvalidInputError: the model takes no frames, needs some, or more than that; or it cannot make the prior.
        """
        for partner in (self.text, self.vae):
            check_pair(self.model.spec, partner.spec)
        _check_given(self.model, given)
        if prior.prompts and (self.model.spec.config.image_channels or self._follows):
            raise InvalidInputError(
                f"{self.model.file} is {self.model.spec.title} and cannot make the prior of prompts alone. Give clips "
                "of yours as the source of the prior."
            )

    def caption(self, words: str) -> Tensor:
        """[1, text_tokens, text_dim]."""
        return kept(self.folder, ("text", self.text.recipe.key(), words), lambda: embed_prompt(self.text, words))

    def latent(self, frames: Tensor, key: tuple[object, ...]) -> Tensor:
        """The normalised latent [1, C, T, h, w] of frames [F, H, W, 3]."""
        raw = kept(self.folder, ("latent", self.vae.recipe.key(), key), lambda: encode(self.vae, frames[None]))
        return self.vae.spec.family.normalize(raw)

    def clip(self, clip: ClipFile, part: DatasetPart, given: GivenKind) -> TrainingBatch:
        """One clip with its caption and what of it is given; see `check`."""
        family, content = self.model.spec.family, _content(clip, part)
        frames = read_clip(clip, part, family.size_multiple)
        made = self._told(frames, content, clip.caption, given)
        if self._follows:
            return self._followed(made, _control(clip, part, frames), content)
        if clip.control or clip.mask:
            raise InvalidInputError(
                f"{self.model.file} has no VACE, but {clip.path.name} comes with a control video or mask. Choose a "
                "model with VACE, or leave them out of the dataset."
            )
        return made

    @property
    def _follows(self) -> bool:
        """Whether the model is told a control video with each clip."""
        return self.model.spec.config.branch(VaceBranch) is not None

    def sample(self, words: str, settings: SampleSettings, given: GivenKind, like: FoundClip) -> TrainingBatch:
        """What a sample of a prompt is told, in the sample's size.

        Args:
            like: the clip whose frames it gets, where the model is told any.

        Raises:
            InvalidInputError: no video of the model has this size.
        """
        family, (clip, part) = self.model.spec.family, like
        latent = empty_latent(family, settings.video)
        if given == "none" and not self._follows:
            return TrainingBatch(latent, Conditioning(self.caption(words)))
        part = replace(part, resolution=PictureShape(settings.width, settings.height), is_bucketed=False)
        frames = read_clip(clip, part, family.size_multiple)
        shown = torch.arange(settings.frames).clamp(max=len(frames) - 1)
        content = (*_content(clip, part), "sample", clip.count)
        made = self._told(frames[shown], content, words, given)
        if not self._follows:
            return made
        video, mask = _control(clip, part, frames)
        return self._followed(made, (video[shown], mask[shown]), content)

    def _followed(
        self, made: TrainingBatch, control: tuple[Tensor, Tensor], content: tuple[object, ...]
    ) -> TrainingBatch:
        """A batch with its control video [F, H, W, 3] and mask [F, H, W] for VACE."""
        video, mask = control
        sums = tuple(sha256(each.contiguous().numpy().data).hexdigest() for each in control)
        parts = [
            self.latent(part, (*content, "control", number, *sums, *part.shape))
            for number, part in enumerate(split_by_mask(video, mask))
        ]
        channels = mask_channels(mask, stride=self.model.spec.family.spatial_stride)
        item: ConditioningItem = VaceControl(torch.cat([*parts, channels], dim=1))
        return replace(made, told=replace(made.told, items=(*made.told.items, item)))

    def _told(self, frames: Tensor, content: tuple[object, ...], words: str, given: GivenKind) -> TrainingBatch:
        family, config = self.model.spec.family, self.model.spec.config
        content = (*content, *frames.shape)
        latent, told = self.latent(frames, content), Conditioning(self.caption(words))
        if given == "none":
            return TrainingBatch(latent, told)
        if family.given_in_latent:
            shown = torch.zeros(latent.shape[2], dtype=torch.bool)
            shown[0] = True
            return TrainingBatch(latent, told, shown)
        places = (0,) if given == "first" or len(frames) == 1 else (0, len(frames) - 1)
        video = keyframe_video({place: 2 * frames[place].movedim(-1, 0) - 1 for place in places}, len(frames))
        pictures = (video[0].movedim(0, -1) + 1) / 2  # [F, H, W, 3], grey where nothing is given
        mask = keyframe_mask(places, len(frames), latent.shape[3], latent.shape[4]) if config.mask_channels else None
        item: ConditioningItem = KeyframeImages(self.latent(pictures, (*content, given)), mask)
        return TrainingBatch(latent, replace(told, items=(item,)))

    def prior(self, settings: PriorSettings) -> list[TrainingBatch]:
        """Clips that the model makes of more general prompts, before it has learned anything."""
        made, sampler = [], self.partner.of(self.model)
        low = sampler.low_noise
        models = (sampler.recipe.key(), None if low is None else low.model.recipe.key())
        for number in range(len(settings.prompts) * settings.copies):
            prompt = settings.prompts[number % len(settings.prompts)]
            key = (
                "prior",
                models,
                replace(settings, weight=1.0, batch=1, prompts=(), source=""),
                prompt,
                number,
            )
            latent = kept(self.folder, key, lambda prompt=prompt, number=number: self._made(settings, prompt, number))
            made.append(TrainingBatch(latent, Conditioning(self.caption(prompt)), weight=settings.weight))
        return made

    def _made(self, settings: PriorSettings, prompt: str, seed: int) -> Tensor:
        positive, negative = (Conditioning(self.caption(words)) for words in (prompt, ""))
        latent = empty_latent(self.model.spec.family, VideoShape(settings.frames, settings.height, settings.width))
        how = SamplerSettings(seed, settings.steps, settings.cfg, settings.shift, "euler")
        return run_sampler(self.partner.of(self.model), positive, negative, latent, how)


def _content(clip: ClipFile, part: DatasetPart) -> tuple[object, ...]:
    """What its frames depend on, but for their size."""
    return sha256(clip.path.read_bytes()).hexdigest(), clip.first, part.fps if clip.count else 0.0


def _control(clip: ClipFile, part: DatasetPart, frames: Tensor) -> tuple[Tensor, Tensor]:
    """The control video [F, H, W, 3] and the mask [F, H, W] that go with the frames of a clip.

    A mask alone keeps the clip itself where it is black.

    Raises:
        InvalidInputError: the clip has neither.
    """
    if clip.control is None and clip.mask is None:
        raise InvalidInputError(
            f"{clip.path.name} has no control video, which a model with VACE is trained with. Name the folders of them "
            "as control_directory or mask_directory in the dataset's .toml, or a file as control_path in its line."
        )
    mask = torch.ones(frames.shape[:3])
    if clip.mask is not None:
        mask = read_beside(clip.mask, clip, part, frames).mean(dim=3)
    if clip.control is None:
        return torch.where((mask > 0.5).unsqueeze(-1), 0.5, frames), mask
    return read_beside(clip.control, clip, part, frames), mask


class Rounds:
    """Gives the batches of each step: all clips in an order of chance, then all again in another.

    Args:
        clips: one by one.
        repeats: of each in a round.
        sizes: of the batches that each is in.
        no_caption: the text that takes the place of a caption that is left out.
        drop: how often that is.
        seed: of the order.
    """

    def __init__(
        self,
        clips: list[TrainingBatch],
        repeats: list[int],
        sizes: list[int],
        no_caption: Tensor,
        drop: float,
        seed: int,
    ) -> None:
        self._clips = [clip for clip, count in zip(clips, repeats) for _ in range(count)]
        sizes = [size for size, count in zip(sizes, repeats) for _ in range(count)]
        self._keys = [(tuple(clip.latent.shape), size) for clip, size in zip(self._clips, sizes)]
        self._round = len(batches(self._keys, lambda key: key[1]))
        self._no_caption, self._drop, self._seed = no_caption, drop, seed
        self._epoch, self._order = -1, batches(self._keys, lambda key: key[1])

    def batch(self, number: int) -> TrainingBatch:
        """The batch of a number, 0 the first; which one it is depends on nothing but the number and the seed."""
        epoch, place = divmod(number, self._round)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, batches(self._keys, lambda key: key[1], self._seed, epoch)
        chance = seeded(self._seed, "captions", number)
        members = [self._clips[member] for member in self._order[place].members]
        return joined([self._heard(clip, float(torch.rand((), generator=chance))) for clip in members])

    def _heard(self, clip: TrainingBatch, chance: float) -> TrainingBatch:
        return clip if chance >= self._drop else replace(clip, told=replace(clip.told, text=self._no_caption))


def _check_given(model: VideoModel, given: GivenKind) -> None:
    config, family = model.spec.config, model.spec.family
    others = [branch for branch in config.branches if not isinstance(branch, VaceBranch)]
    if others or config.control_channels or config.source_channels or config.has_mask_alone:
        raise InvalidInputError(
            f"{model.file} is {model.spec.title}, which takes more than a prompt and frames and is not trained here. "
            "Choose a model of text or image to video, or of VACE, without CLIP features or references."
        )
    takes = bool(config.image_channels) or family.given_in_latent
    if given != "none" and not takes:
        raise InvalidInputError(f"{model.file} takes no frames, but given is '{given}'. Set it to 'none'.")
    if given == "none" and config.image_channels:
        raise InvalidInputError(f"{model.file} is an image-to-video model: set given to 'first' or 'first_last'.")
    if given == "first_last" and family.given_in_latent:
        raise InvalidInputError(f"{model.file} takes the first frame alone. Set given to 'first'.")
