"""Between ComfyUI's native dictionaries and our objects: LATENT and CONDITIONING in, LATENT and CONDITIONING out.

A native LATENT is {"samples": raw latent [B, C, T, h, w]}; TI2V-5B takes its start image in it, with a `noise_mask`
[B, 1, T, h, w], 0 = given. A native CONDITIONING is a list of [embedding, values]; of the values we read and write
`concat_latent_image` (raw VAE latent [1, C, T, h, w] of the given frames), `concat_mask` ([1, 4 or 1, T, h, w], 0 =
given), `clip_vision_output`, and for VACE the lists `vace_frames` (raw latents [1, 32, T, h, w]), `vace_mask`
([1, 64, T, h, w]) and `vace_strength`. Values of our own begin with `wan_director_`: they say which file made what (a
`MadeBy`), so that a wrong pair of files gets a sentence that names both, and which latent frames are only references.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..common.errors import InvalidInputError, PairingError
from ..common.families import WAN_2_1, WAN_2_2_5B, Family
from ..common.log import logger
from ..common.shapes import TEMPORAL_STRIDE, VideoShape, check_frames, check_size, latent_frames
from ..dit.conditioning.clip_image import ClipImage
from ..dit.conditioning.start_image import KeyframeImages, keyframe_mask, keyframe_video
from ..dit.conditioning.text import pad_text
from ..dit.conditioning.vace import VaceControl
from ..dit.inputs import Conditioning
from ..model_loading.pairing import check_image_input, check_inputs, check_pair
from ..sampling.given import Given, GivenFrames, NothingGiven
from ..text_encoder.clip_vision import ClipVisionOutput
from .models import TEXT_TAG, VAE_TAG, MadeBy, WanModel
from .pictures import Fit, clean_clip, fit_pictures


@dataclass(frozen=True, slots=True, eq=False)
class Keyframe:
    """A picture [1, H, W, 3] in 0..1 at a frame; negative frames count from the end."""

    frame: int
    image: Tensor


REFERENCES_TAG = "wan_director_references"


class References(NamedTuple):
    """The first `count` latent frames of a latent of `latent_frames` are references, not part of the video."""

    count: int
    latent_frames: int


def family_of(vae: Any) -> Family:
    """The family of a VAE, ours or native; a native one is known by its channels."""
    own = getattr(vae, "family", None)
    if own is not None:
        return own
    return WAN_2_2_5B if vae.latent_channels == WAN_2_2_5B.latent_channels else WAN_2_1


def check_video_size(width: int | None, height: int | None, frames: int | None, family: Family = WAN_2_1) -> None:
    """Refuses sizes that the models of a family cannot make; None stands for a value that is not known yet.

    Raises:
        InvalidInputError: a side is no multiple of 16 (32 for TI2V-5B) or too small, or the length is not 1 + 4k.
    """
    multiple = family.size_multiple
    check_size(width if width is not None else 1024, height if height is not None else 1024, multiple)
    if frames is not None:
        check_frames(frames)


def empty_latent(vae: Any, width: int, height: int, frames: int, batch_size: int) -> dict[str, Any]:
    """A native LATENT of zeros for `batch_size` videos.

    Raises:
        InvalidInputError: see `check_video_size`.
    """
    family = family_of(vae)
    check_video_size(width, height, frames, family)
    if frames > family.trained_frames:
        logger.warning(
            "%d frames: %s was trained on %d; longer videos tend to repeat themselves or to drift.",
            frames, family.title, family.trained_frames,
        )  # fmt: skip
    stride = vae.spacial_compression_encode()
    shape = (batch_size, vae.latent_channels, latent_frames(frames), height // stride, width // stride)
    return tagged_latent(torch.zeros(shape), vae)


def tagged_latent(samples: Tensor, vae: Any) -> dict[str, Any]:
    """A native LATENT that remembers its VAE, if that is one of ours."""
    return {"samples": samples} | _made_by(vae)


def decodable(vae: Any, latent: dict[str, Any]) -> Tensor:
    """The samples of a LATENT without its references, after checking that this VAE made or can decode them.

    Raises:
        InvalidInputError: it is no video latent, or holds NaN or infinity.
        PairingError: it is the latent of another VAE.
    """
    samples = _video_samples(latent)
    made_by, own = latent.get(VAE_TAG), getattr(vae, "spec", None)
    if made_by is not None and own is not None and made_by.spec.family != own.family:
        raise PairingError(
            f"The latent was made for {made_by.spec.path.name} ({made_by.spec.family.title}), but the VAE that should "
            f"decode it is {own.path.name} ({own.family.title}). Use {made_by.spec.family.vae_file}."
        )
    if samples.shape[1] != vae.latent_channels:
        right = {family.latent_channels: family.vae_file for family in (WAN_2_1, WAN_2_2_5B)}.get(samples.shape[1])
        raise PairingError(
            f"The latent has {samples.shape[1]} channels, this VAE decodes {vae.latent_channels}. Load "
            f"{right or 'the VAE that belongs to the model'}."
        )
    if not torch.isfinite(samples).all():
        raise InvalidInputError("The latent holds NaN or infinite values and would decode to black. Sample it again.")
    references = latent.get(REFERENCES_TAG)
    # Another node may have cut them off already.
    if references is not None and references.latent_frames == samples.shape[2]:
        return samples[:, :, references.count :]
    return samples


def with_references(latent: dict[str, Any], count: int) -> dict[str, Any]:
    """A blank LATENT with room for `count` latent frames of references before the video."""
    if not count:
        return latent
    samples = latent["samples"]
    batch, channels, frames, height, width = samples.shape
    longer = samples.new_zeros(batch, channels, count + frames, height, width)
    return {**latent, "samples": longer, REFERENCES_TAG: References(count, count + frames)}


def given_frames(
    frames: int, start_image: Tensor | None, end_image: Tensor | None, keyframes: tuple[Keyframe, ...]
) -> dict[int, Tensor]:
    """Which frames of a video are given: frame 0..frames-1 -> [1, H, W, 3] in 0..1.

    Raises:
        InvalidInputError: a frame outside the video or given twice, more pictures than frames, or a bad picture.
    """
    pairs: list[tuple[int, Tensor]] = []
    if start_image is not None:
        clip = _clip_of_at_most(frames, start_image, "start_image")
        pairs += [(index, clip[index : index + 1]) for index in range(len(clip))]
    if end_image is not None:
        clip = _clip_of_at_most(frames, end_image, "end_image")
        pairs += [(frames - len(clip) + index, clip[index : index + 1]) for index in range(len(clip))]
    for keyframe in keyframes:
        if not -frames <= keyframe.frame < frames:
            raise InvalidInputError(
                f"A keyframe stands at frame {keyframe.frame}, but the video has {frames} frames. Use 0 to "
                f"{frames - 1}, or -1 to -{frames} to count from the end."
            )
        pairs.append((keyframe.frame % frames, keyframe.image))
    given = dict(pairs)
    if len(given) < len(pairs):
        positions = [index for index, _ in pairs]
        twice = sorted({index for index in positions if positions.count(index) > 1})
        raise InvalidInputError(
            f"Frame {twice[0]} is given {positions.count(twice[0])} times. Give one picture for each frame, counting "
            "start_image, end_image and keyframes."
        )
    return given


def keyframe_values(vae: Any, given: dict[int, Tensor], shape: VideoShape, fit: Fit) -> dict[str, Any]:
    """The conditioning values of given frames (see `given_frames`); none when nothing is given."""
    if not given:
        return {}
    pictures = {index: fit_pictures(picture, shape.width, shape.height, fit) for index, picture in given.items()}
    video = keyframe_video(
        {index: picture[0].movedim(-1, 0) * 2 - 1 for index, picture in pictures.items()}, shape.frames
    )
    latent = vae.encode((video[0].movedim(0, -1) + 1) / 2)
    mask = 1 - keyframe_mask(tuple(given), shape.frames, *latent.shape[-2:])
    return {"concat_latent_image": latent, "concat_mask": mask} | _made_by(vae)


def given_in_latent(
    vae: Any, given: dict[int, Tensor], fit: Fit, shape: VideoShape, latent: dict[str, Any]
) -> dict[str, Any]:
    """The blank LATENT with the given first frames in it, for models that take them there (TI2V-5B).

    Raises:
        InvalidInputError: given frames that are not the first 1 + 4k ones.
    """
    if not given:
        return latent
    family, count = family_of(vae), len(given)
    if sorted(given) != list(range(count)) or count % TEMPORAL_STRIDE != 1:
        raise InvalidInputError(
            f"{family.title} takes its first frame, or its first 1 + 4k frames, as given; got the frames "
            f"{', '.join(map(str, sorted(given)))}. Give a start_image only, or use an image-to-video 14B model."
        )
    pictures = torch.cat([fit_pictures(given[index], shape.width, shape.height, fit) for index in range(count)])
    encoded = vae.encode(pictures)
    samples = family.denormalize(torch.zeros_like(latent["samples"]))
    mask = torch.ones_like(samples[:, :1])
    samples[:, :, : encoded.shape[2]] = encoded
    mask[:, :, : encoded.shape[2]] = 0
    return {**latent, "samples": samples, "noise_mask": mask}


def with_vace(vae: Any, conditioning: list, frames: Tensor, mask: Tensor, strength: float) -> list:
    """A native CONDITIONING with one more control video for VACE; see this module's head for the shapes."""
    added = {"vace_frames": frames, "vace_mask": mask, "vace_strength": strength}
    return [
        [embedding, {**entry, **_made_by(vae), **{key: [*entry.get(key, []), value] for key, value in added.items()}}]
        for embedding, entry in conditioning
    ]


def joined_clip_vision(start: Any | None, end: Any | None) -> dict[str, Any]:
    """The conditioning value of the start and end pictures' features, one after the other; none without them."""
    outputs = [output for output in (start, end) if output is not None]
    if not outputs:
        return {}
    if len(outputs) == 1:
        return {"clip_vision_output": outputs[0]}
    parts = ("penultimate_hidden_states", "last_hidden_state", "image_embeds")
    joined = (torch.cat([getattr(output, part) for output in outputs], dim=-2) for part in parts)
    return {"clip_vision_output": ClipVisionOutput(*joined, made_by=getattr(start, "made_by", None))}


def with_values(conditioning: list, values: dict[str, Any]) -> list:
    """A native CONDITIONING with `values` added to each entry."""
    return [[embedding, {**entry, **values}] for embedding, entry in conditioning]


def model_latent(model: WanModel, latent: dict[str, Any]) -> Tensor:
    """The normalised latent of a LATENT, for this model: [B, C, T, h, w], float32; zeros stay zeros.

    Raises:
        InvalidInputError: it is no video latent.
        PairingError: its VAE belongs to another model.
    """
    samples = _video_samples(latent)
    if VAE_TAG in latent:
        check_pair(model.spec, latent[VAE_TAG].spec)
    blank = not samples.any()  # zeros mean "nothing" in raw and in normalised units
    return (
        samples
        if blank or samples.shape[1] != model.spec.family.latent_channels
        else model.spec.family.normalize(samples)
    )


def given_frames_of(model: WanModel, latent: dict[str, Any], clean: Tensor) -> Given:
    """The given latent frames that the noise mask of a LATENT marks; `clean` is its `model_latent`.

    Raises:
        InvalidInputError: this model cannot keep frames, or the mask marks parts of frames.
    """
    mask = latent.get("noise_mask")
    if mask is None:
        return NothingGiven()
    if not model.spec.family.given_in_latent:
        raise InvalidInputError(
            "The latent carries a noise mask, and this sampler cannot inpaint. Remove the mask, or use Wan VACE."
        )
    if mask.ndim != 5 or mask.shape[2] != clean.shape[2] or mask.amin((0, 1, 3, 4)).ne(mask.amax((0, 1, 3, 4))).any():
        raise InvalidInputError(
            f"{model.file} keeps whole latent frames, the same in each video of a batch, but the noise mask "
            f"{list(mask.shape)} marks others. Make it with Wan Image To Video."
        )
    return GivenFrames(clean, mask.amax((0, 1, 3, 4)) < 0.5)


def native_latent(model: WanModel, latent: dict[str, Any], sampled: Tensor) -> dict[str, Any]:
    """The LATENT of a sampled, normalised latent; `latent` is the one it came from, whose other entries it keeps."""
    return {**latent, "samples": model.spec.family.denormalize(sampled)}


def model_conditioning(model: WanModel, conditioning: list, latent: dict[str, Any]) -> Conditioning:
    """One side of the guidance, from a native CONDITIONING, checked against the model and the latent's size.

    Raises:
        InvalidInputError: the conditioning is a combination of several.
        PairingError: text encoder, VAE, latent, given frames or CLIP features do not fit the model.
    """
    if len(conditioning) != 1:
        raise InvalidInputError(
            f"The sampler takes one prompt on each side, got a combination of {len(conditioning)}. Join them into "
            "one text."
        )
    embedding, values = conditioning[0]
    for tag in (TEXT_TAG, VAE_TAG):
        if tag in values:
            check_pair(model.spec, values[tag].spec)
    samples, given, clip = _video_samples(latent), values.get("concat_latent_image"), values.get("clip_vision_output")
    if getattr(clip, "made_by", None) is not None:
        check_image_input(model.spec, given is not None)  # first: without a start image nobody asks for its features
        check_pair(model.spec, clip.made_by.spec)
    check_inputs(
        model.spec,
        latent_channels=samples.shape[1],
        text_width=embedding.shape[-1],
        has_image=given is not None,
        clip_width=None if clip is None else clip.penultimate_hidden_states.shape[-1],
        has_control=bool(values.get("vace_frames")),
    )
    text = pad_text(embedding.float(), model.spec.config.text_tokens)
    keyframes = () if given is None else (_keyframe_item(model, given, values.get("concat_mask"), samples),)
    clip_image = () if clip is None else (ClipImage(clip.penultimate_hidden_states.float()),)
    return Conditioning(text, (*keyframes, *clip_image, *_vace_items(model, values, samples)))


def _keyframe_item(model: WanModel, given: Tensor, native_mask: Tensor | None, samples: Tensor) -> KeyframeImages:
    if given.shape[1:] != samples.shape[1:]:
        raise PairingError(
            f"The given frames were prepared for a latent of {_size(given)}, but the latent to sample has "
            f"{_size(samples)}. Connect the LATENT of the same node that prepared the frames."
        )
    mask = torch.zeros_like(given[:, :4]) if native_mask is None else 1 - native_mask.float()
    if mask.shape[1] == 1:
        mask = mask.expand(-1, 4, -1, -1, -1)
    if mask.shape[1:] != (4, *given.shape[2:]):
        raise PairingError(
            f"The mask of the given frames has the shape {list(mask.shape)}, the frames have {list(given.shape)}. Make "
            "both with the same node."
        )
    return KeyframeImages(model.spec.family.normalize(given.float()), mask)


def _vace_items(model: WanModel, values: dict[str, Any], samples: Tensor) -> tuple[VaceControl, ...]:
    frames = values.get("vace_frames", ())
    masks, strengths = values.get("vace_mask"), values.get("vace_strength") or [1.0] * len(frames)
    channels = model.spec.family.latent_channels
    items = []
    for index, control in enumerate(frames):
        if control.shape[2:] != samples.shape[2:] or control.shape[1] != 2 * channels:
            raise PairingError(
                f"The control video was prepared for a latent of {_size(control)}, but the latent to sample has "
                f"{_size(samples)}. Connect the LATENT of the same Wan VACE, and give chained ones the same size and "
                "number of references."
            )
        parts = [model.spec.family.normalize(part) for part in control.float().split(channels, dim=1)]
        rest = model.spec.config.vace_channels - 2 * channels
        mask = masks[index] if masks else control.new_ones(1, rest, *control.shape[2:])
        items.append(VaceControl(torch.cat([*parts, mask.float()], dim=1), float(strengths[index])))
    return tuple(items)


def _video_samples(latent: dict[str, Any]) -> Tensor:
    samples = latent["samples"]
    if samples.ndim != 5:
        raise InvalidInputError(
            "A video latent has 5 dimensions [batch, channels, frames, height, width], got "
            f"{list(samples.shape)}. Make it with Wan Empty Latent, Wan Image To Video or Wan Encode Video."
        )
    return samples.float()


def _made_by(vae: Any) -> dict[str, MadeBy]:
    spec = getattr(vae, "spec", None)
    return {} if spec is None else {VAE_TAG: MadeBy(spec)}


def _clip_of_at_most(frames: int, images: Tensor, name: str) -> Tensor:
    clip = clean_clip(images, name)
    if len(clip) > frames:
        raise InvalidInputError(
            f"{name} is a clip of {len(clip)} frames, but the video has {frames}. Give fewer, or make the video longer."
        )
    return clip


def _size(latent: Tensor) -> str:
    channels, frames, height, width = latent.shape[1:]
    return f"{channels} channels, {frames} latent frames of {width} x {height}"
