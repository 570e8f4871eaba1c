"""What one forward pass of the transformer takes, how conditioning adds its part to it, and what fits which model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from ..common.errors import InvalidInputError, PairingError
from ..common.model_names import THIS_MODEL, ModelNames
from ..common.records import record
from .branches.branch import Branch
from .conditioning.cut import Cut
from .conditioning.in_context import ClipBeside
from .config import DiTConfig
from .context import Avoided, TextTravel
from .past import Past
from .rope import AS_TRAINED, RIGHT_BEFORE, FramesBefore, TokenPlaces


class Steering(Protocol):
    """What steers a branch, as the branch takes it."""

    @property
    def branch(self) -> type[Branch[DiTConfig]]:
        """The kind of branch."""
        ...


@record
class DitInputs:
    """One call of the transformer.

    Attributes:
        latent: [B, C, T, h, w], normalised latent with noise.
        timestep: [B], float, sigma * 1000, so 0..1000; or [B, T] with one for each latent frame.
        text: [B, text_tokens, text_dim], zero rows after the prompt's last token.
        image_channels: [B, ..., T, h, w], the latent of a control video, the mask (1 = given) and that of given
            frames, as far as the model has channels for them (see `DiTConfig`); None = nothing given, which equals
            zeros.
        steering: what steers the branches; one that nothing steers is as if it were not there.
        skipped: numbers of the model's own blocks, 0..layers - 1, that leave the tokens as they are.
        avoided: a text to lead away from, if any.
        places: where the tokens lie in time and space.
        travel: texts that take turns in time, which then stand in place of `text`.
        in_context: clips beside the video, in order.
        past: of a causal model, what it knows of the frames before these; each pass adds its own.
        before: where frames of tokens lie that branches put before the video's.
    """

    latent: Tensor
    timestep: Tensor
    text: Tensor
    image_channels: Tensor | None = None
    steering: tuple[Steering, ...] = ()
    skipped: frozenset[int] = frozenset()
    avoided: Avoided | None = None
    places: TokenPlaces = AS_TRAINED
    travel: TextTravel | None = None
    in_context: tuple[ClipBeside, ...] = ()
    past: Past | None = None
    before: FramesBefore = RIGHT_BEFORE

    def steering_of(self, branch: Branch[DiTConfig]) -> tuple[Steering, ...]:
        """What steers one branch, in order."""
        return tuple(each for each in self.steering if each.branch is type(branch))

    def check(self, config: DiTConfig) -> None:
        """Refuses what a transformer of these sizes cannot take.

        Raises:
            PairingError: a width, a number of channels, or a branch it does not have; the message has the numbers.
            InvalidInputError: things that do not go together.
        """
        check_latent(config, self.latent.shape[1])
        _check_image(config, self)
        check_text(config, self.text.shape[-1])
        _check_travel(config, self)
        for each in self.steering:
            check_branch(config, each.branch)
        for branch in config.branches:
            branch.check(self.steering_of(branch), self.latent)
        for clip in self.in_context:
            clip.check(config, self.latent)
        check_beside_clips(config, self.in_context, self.travel, {each.branch for each in self.steering})
        if self.in_context and self.timestep.ndim > 1:
            raise InvalidInputError(
                f"There is {self.in_context[0].words} and a timestep for each frame, which only the frames of the "
                "video have. Give one timestep for all, without frames given in the latent."
            )
        if self.past is not None:
            check_causal(config, self.in_context)


class ConditioningItem(Protocol):
    """One kind of conditioning beside the text, for example a start image."""

    @property
    def branch(self) -> type[Branch[DiTConfig]] | None:
        """The kind of branch that it steers; None where it goes into the model's own channels."""
        ...

    def apply(self, inputs: DitInputs) -> DitInputs:
        """The inputs with this item's part filled in."""
        ...

    def window(self, cut: Cut) -> ConditioningItem:
        """What of this item goes with some of the latent's frames.

        Raises:
            PairingError: it is made for a clip of another length.
        """
        ...

    def to(self, device: torch.device) -> ConditioningItem:
        """This item with its tensors on a device."""
        ...


@record
class Conditioning:
    """A prompt and what goes with it: one side (positive or negative) of the guidance.

    Attributes:
        text: [1 or B, text_tokens, text_dim].
        items: applied in order.
        references: how many latent frames of pictures stand before the video.
        travel: texts that take turns in time, which then stand in place of `text`.
        in_context: clips that the model sees beside the video, in order.
        is_written: whether somebody chose its words; the list of what to avoid that stands in every graph is no choice.
    """

    text: Tensor
    items: tuple[ConditioningItem, ...] = ()
    references: int = 0
    travel: TextTravel | None = None
    is_written: bool = True
    in_context: tuple[ClipBeside, ...] = ()

    def inputs(self, latent: Tensor, timestep: Tensor) -> DitInputs:
        """Inputs for `latent` [B, C, T, h, w] at `timestep` [B] or [B, T]; a text or item of batch 1 serves all."""
        text = expand_batch(self.text, latent.shape[0])
        travel = self.travel
        if travel is not None:
            travel = travel._replace(texts=tuple(expand_batch(each, latent.shape[0]) for each in travel.texts))
        inputs = DitInputs(latent, timestep, text, travel=travel, in_context=self.in_context)
        for item in self.items:
            inputs = item.apply(inputs)
        return inputs

    def steering(self) -> Counter[type]:
        """By kind of branch, how many of the items steer it."""
        return Counter(item.branch for item in self.items if item.branch is not None)

    def window(self, cut: Cut) -> Conditioning:
        """The prompt and what of its items goes with some of the latent's frames."""
        travel = self.travel
        if travel is not None:
            travel = travel._replace(shares=cut.of_times(travel.shares, dim=1))
        clips = tuple(seen for seen in (clip.window(cut) for clip in self.in_context) if seen is not None)
        return replace(self, items=tuple(item.window(cut) for item in self.items), travel=travel, in_context=clips)

    def to(self, device: torch.device) -> Conditioning:
        """The prompt and its items with their tensors on a device."""
        travel = self.travel
        if travel is not None:  # the shares stay: they say which frames see what
            travel = travel._replace(texts=tuple(text.to(device) for text in travel.texts))
        items, clips = (tuple(each.to(device) for each in group) for group in (self.items, self.in_context))
        return replace(self, text=self.text.to(device), items=items, travel=travel, in_context=clips)


def expand_batch(tensor: Tensor, batch: int) -> Tensor:
    """`tensor` [1 or batch, ...] seen as [batch, ...], without a copy."""
    return tensor if tensor.shape[0] == batch else tensor.expand(batch, *tensor.shape[1:])


def check_latent(config: DiTConfig, channels: int, names: ModelNames = THIS_MODEL) -> None:
    """Refuses a latent of so many channels for a transformer of another number.

    Raises:
        PairingError: they differ.
    """
    if channels != config.out_channels:
        raise PairingError(
            f"The latent has {channels} channels, but {names.model} works on {config.out_channels}. Make it with ",
            *names.file("vae", "the VAE that belongs to it"), ".",
        )  # fmt: skip


def check_text(config: DiTConfig, width: int, names: ModelNames = THIS_MODEL) -> None:
    """Refuses a text embedding of this width for a transformer that takes another.

    Raises:
        PairingError: they differ.
    """
    if width != config.text_dim:
        raise PairingError(
            f"The text embedding has the width {width}, but {names.model} needs {config.text_dim}. Encode the prompt "
            "with ", *names.file("text_encoder", "the text encoder that belongs to it"), ".",
        )  # fmt: skip


def check_branch(
    config: DiTConfig, kind: type[Branch[DiTConfig]], width: int | None = None, names: ModelNames = THIS_MODEL
) -> None:
    """Refuses what steers a kind of branch for a transformer that has none, or one that takes another width.

    Args:
        width: of what steers it, see `Branch.check_width`; None where that is not asked.

    Raises:
        PairingError: it is so.
    """
    branch = config.branch(kind)
    if branch is None:
        raise kind.lacking(names)
    if width is not None:
        branch.check_width(width, names)


def check_beside_clips(
    config: DiTConfig, clips: Collection[ClipBeside], travel: TextTravel | None, kinds: Collection[type]
) -> None:
    """Refuses what cannot steer a pass in which the model sees clips beside the video.

    Args:
        travel: texts that take turns in time, if any.
        kinds: of the branches that something steers.

    Raises:
        InvalidInputError: texts take turns in time, or the blocks of a branch take the video's tokens alone.
    """
    adding = next((each for each in config.branches if each.adds_tokens and type(each) in kinds), None)
    if adding is not None and travel is not None:
        raise InvalidInputError(
            f"The conditioning brings {adding.words}, which has no place in time among prompts that take turns in one "
            "pass. Choose the method passes in the prompt travel, or use one prompt."
        )
    if not clips:
        return
    words = next(iter(clips)).words
    if travel is not None:
        raise InvalidInputError(
            f"{words[0].upper()}{words[1:]} has no place in time among prompts that take turns in one pass. Choose the "
            "method passes in the prompt travel, or use one prompt."
        )
    branch = next((each for each in config.branches if type(each) in kinds and each.own_blocks(config.layers)), None)
    if branch is not None:
        raise InvalidInputError(
            f"The conditioning brings {branch.words} and {words}, and the blocks of the one take the tokens of the "
            "video alone. Leave one of them out."
        )


def check_causal(config: DiTConfig, clips: Collection[ClipBeside], names: ModelNames = THIS_MODEL) -> None:
    """Refuses what cannot make a video in parts that look back at those before.

    Raises:
        PairingError: a model that is not one of text to video alone.
        InvalidInputError: clips beside the video.
    """
    if config.branches or config.image_channels:
        raise PairingError(
            f"A video is made chunk by chunk by causal models of text to video, and {names.model} takes more than a "
            "prompt. Choose a causal model such as causal_forcing-framewise.safetensors, or let it make all frames at "
            "once."
        )
    if clips:
        raise InvalidInputError(
            f"A causal model makes a video chunk by chunk, and {next(iter(clips)).words} is for the whole of it. Leave "
            "it out."
        )


def _check_travel(config: DiTConfig, inputs: DitInputs) -> None:
    if inputs.travel is None:
        return
    texts, shares = inputs.travel
    for text in texts:
        check_text(config, text.shape[-1])
    frames = inputs.latent.shape[2]
    if shares.shape != (len(texts), frames):
        raise PairingError(
            f"There are {len(texts)} texts in time with shares of the shape {list(shares.shape)}, but the latent has "
            f"{frames} frames. Give a share for each text in each latent frame."
        )


def _check_image(config: DiTConfig, inputs: DitInputs) -> None:
    image, latent = inputs.image_channels, inputs.latent.shape[1]
    if image is not None and image.shape[1] != config.image_channels:
        raise PairingError(
            f"The latent has {latent} channels and the image conditioning {image.shape[1]}, but this model takes "
            f"{config.in_channels} in all. Use an image-to-video model (36) with a start image, a Fun-Control model "
            "(48 or 52, of 5B 148) with a control video, a text-to-video model (16, or 48 for TI2V-5B) without."
        )
