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
from ..dit.conditioning.start_image import KeyframeImages, keyframe_mask, keyframe_video
from ..dit.inputs import Conditioning, ConditioningItem
from ..engine import PlacedModel, SamplerSettings, VideoModel, embed_prompt, empty_latent, encode, run_sampler
from ..model_loading.pairing import check_pair
from .batch import TrainingBatch, joined
from .cache import kept
from .datasets import ClipFile, DatasetPart, read_clip
from .objective import seeded
from .settings import GivenKind, PriorSettings


class Encoders(NamedTuple):
    """What makes clips and captions into what the transformer learns from, and the folder that keeps it."""

    model: VideoModel
    text: PlacedModel
    vae: PlacedModel
    folder: Path

    def check(self, given: GivenKind) -> None:
        """Refuses models that do not go together, or that are not trained so.

        Raises:
            PairingError: a text encoder or VAE of another family.
            InvalidInputError: the model takes no frames, needs some, or more than that.
        """
        for partner in (self.text, self.vae):
            check_pair(self.model.spec, partner.spec)
        _check_given(self.model, given)

    def caption(self, words: str) -> Tensor:
        """[1, text_tokens, text_dim]."""
        return kept(self.folder, ("text", self.text.recipe.key(), words), lambda: embed_prompt(self.text, words))

    def latent(self, frames: Tensor, key: tuple[object, ...]) -> Tensor:
        """The normalised latent [1, C, T, h, w] of frames [F, H, W, 3]."""
        raw = kept(self.folder, ("latent", self.vae.recipe.key(), key), lambda: encode(self.vae, frames[None]))
        return self.vae.spec.family.normalize(raw)

    def clip(self, clip: ClipFile, part: DatasetPart, given: GivenKind) -> TrainingBatch:
        """One clip with its caption and what of it is given; see `check`."""
        family, config = self.model.spec.family, self.model.spec.config
        frames = read_clip(clip, part, family.size_multiple)
        content = (sha256(clip.path.read_bytes()).hexdigest(), clip.first, *frames.shape)
        latent, told = self.latent(frames, content), Conditioning(self.caption(clip.caption))
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
        made = []
        for number in range(len(settings.prompts) * settings.copies):
            prompt = settings.prompts[number % len(settings.prompts)]
            key = (
                "prior",
                self.model.recipe.key(),
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
        return run_sampler(self.model, positive, negative, latent, how)


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
    if config.branches or config.control_channels or config.source_channels or config.has_mask_alone:
        raise InvalidInputError(
            f"{model.file} is {model.spec.title}, which takes more than a prompt and frames and is not trained here. "
            "Choose a model of text or image to video without CLIP features, control video or references."
        )
    takes = bool(config.image_channels) or family.given_in_latent
    if given != "none" and not takes:
        raise InvalidInputError(f"{model.file} takes no frames, but given is '{given}'. Set it to 'none'.")
    if given == "none" and config.image_channels:
        raise InvalidInputError(f"{model.file} is an image-to-video model: set given to 'first' or 'first_last'.")
    if given == "first_last" and family.given_in_latent:
        raise InvalidInputError(f"{model.file} takes the first frame alone. Set given to 'first'.")
