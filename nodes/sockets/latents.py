"""Between ComfyUI's native LATENT and our tensors; CONDITIONING is in `conditioning/`.

A native LATENT is {"samples": raw latent [B, C, T, h, w]}; a `noise_mask` in it marks what is to be made anew (see
`noise_masks`), and TI2V-5B takes its start image there. Values of our own begin with `wan_director_`: they say which
file made what (a `MadeBy`), so that a wrong pair of files gets a sentence that names both, and which latent frames are
only references.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...common.checking import has_values, instance_of, is_finite, kind_of, tensor_of
from ...common.errors import InvalidInputError, PairingError
from ...common.families import WAN_2_1, WAN_2_2_5B, Family
from ...common.log import logger
from ...common.shapes import check_bounds, check_frames, check_size, latent_frames
from ...model_loading.pairing import check_pair
from .models import MODEL_TAG, VAE_TAG, MadeBy, WanModel

REFERENCES_TAG = "wan_director_references"


class References(NamedTuple):
    """The first `count` latent frames of a latent of `latent_frames` are references, not part of the video."""

    count: int
    latent_frames: int


_BY_CHANNELS = {family.latent_channels: family for family in (WAN_2_1, WAN_2_2_5B)}
STRIDE_KEY = "downscale_ratio_spacial"
"""Under which newer ComfyUI says for which stride an empty latent was made; its samplers take it away."""
_RATIO_KEYS = (STRIDE_KEY, "downscale_ratio_temporal")


def family_of(vae: Any) -> Family:
    """The family of a VAE, ours or native; a native one is known by its channels.

    Raises:
        InvalidInputError: it is no VAE.
        PairingError: it is that of another kind of model.
    """
    own = getattr(vae, "family", None)
    if isinstance(own, Family):
        return own
    channels = getattr(vae, "latent_channels", None)
    if not isinstance(channels, int):
        raise InvalidInputError(f"The VAE must be one for Wan, got {kind_of(vae)}. Connect Load Wan VAE.")
    family = _BY_CHANNELS.get(channels)
    if family is None or getattr(vae, "latent_dim", 3) != 3:
        raise PairingError(
            f"The VAE makes latents of {channels} channels for another kind of model; Wan's make 16 or 48 for videos. "
            f"Load {WAN_2_1.vae_file}, or {WAN_2_2_5B.vae_file} for TI2V-5B."
        )
    return family


def check_wan_2_1(vae: Any, model: str) -> None:
    """Refuses the VAE of TI2V-5B for a model that there is for latents of the Wan 2.1 VAE alone.

    Args:
        model: what it is called.

    Raises:
        InvalidInputError: it is that, or no VAE.
        PairingError: it is that of another kind of model.
    """
    if family_of(vae).given_in_latent:
        raise InvalidInputError(
            f"{model} works on latents of the Wan 2.1 VAE, and this VAE is that of TI2V-5B. Load {WAN_2_1.vae_file}."
        )


def check_video_size(width: int | None, height: int | None, frames: int | None, family: Family = WAN_2_1) -> None:
    """Refuses sizes that the models of a family cannot make; None stands for a value that is not known yet.

    Raises:
        InvalidInputError: a side is no multiple of 16 (32 for TI2V-5B), too small or too large, or the length is not
            1 + 4k or too long.
    """
    width, height = (1024 if side is None else side for side in (width, height))
    check_bounds(width, height, 1 if frames is None else frames)
    check_size(width, height, family.size_multiple)
    if frames is not None:
        check_frames(frames)


def empty_latent(vae: Any, width: int, height: int, frames: int, batch_size: int) -> dict[str, Any]:
    """A native LATENT of zeros for `batch_size` videos.

    Raises:
        InvalidInputError: see `check_video_size`; or too many videos.
    """
    family = family_of(vae)
    check_video_size(width, height, frames, family)
    check_bounds(width, height, frames, batch_size)
    if frames > family.trained_frames:
        logger.warning(
            "%d frames: %s was trained on %d; longer videos tend to repeat themselves or to drift where Wan "
            "Windows does not cut them.",
            frames, family.title, family.trained_frames,
        )  # fmt: skip
    stride = vae.spacial_compression_encode()
    shape = (batch_size, vae.latent_channels, latent_frames(frames), height // stride, width // stride)
    return tagged_latent(torch.zeros(shape, dtype=torch.float32), vae)


def tagged_latent(samples: Tensor, vae: Any) -> dict[str, Any]:
    """A native LATENT that remembers its VAE, if that is one of ours."""
    return {"samples": samples} | made_by(vae)


def begun_latent(blank: dict[str, Any], start: Tensor) -> dict[str, Any]:
    """A blank LATENT that begins with raw latent frames [1, C, T, h, w], which its noise mask keeps."""
    samples = blank["samples"]
    given = start.shape[2]
    batch, _, frames, height, width = samples.shape
    begun = torch.cat([start.to(samples).expand(batch, -1, -1, -1, -1), samples[:, :, given:]], dim=2)
    mask = torch.ones(1, 1, frames, height, width, dtype=torch.float32)
    mask[:, :, :given] = 0
    return {**blank, "samples": begun, "noise_mask": mask}


def decodable(vae: Any, latent: dict[str, Any]) -> Tensor:
    """The samples of a LATENT without its references, after checking that this VAE made or can decode them.

    Raises:
        InvalidInputError: it is no video latent, or holds NaN or infinity.
        PairingError: it is the latent of another VAE.
    """
    samples = video_samples(latent)
    family_of(vae)
    maker, own = latent.get(VAE_TAG), getattr(vae, "spec", None)
    if MODEL_TAG in latent and own is not None:
        check_pair(latent[MODEL_TAG].spec, own)
    if maker is not None and own is not None and maker.spec.family != own.family:
        raise PairingError(
            f"The latent was made for {maker.spec.path.name} ({maker.spec.family.title}), but the VAE that should "
            f"decode it is {own.path.name} ({own.family.title}). Use {maker.spec.family.vae_file}."
        )
    if samples.shape[1] != vae.latent_channels:
        right = _BY_CHANNELS.get(samples.shape[1])
        raise PairingError(
            f"The latent has {samples.shape[1]} channels, this VAE decodes {vae.latent_channels}. Load "
            f"{right.vae_file if right else 'the VAE that belongs to the model'}."
        )
    if not is_finite(samples):
        raise InvalidInputError("The latent holds NaN or infinite values and would decode to black. Sample it again.")
    return samples[:, :, reference_frames(latent) :]


def reference_frames(latent: dict[str, Any]) -> int:
    """How many latent frames of references stand before the video; another node may have cut them off already."""
    references = latent.get(REFERENCES_TAG)
    return references.count if references and references.latent_frames == latent["samples"].shape[2] else 0


def with_references(latent: dict[str, Any], count: int) -> dict[str, Any]:
    """A blank LATENT with room for `count` latent frames of references before the video."""
    if not count:
        return latent
    samples = latent["samples"]
    batch, channels, frames, height, width = samples.shape
    longer = samples.new_zeros(batch, channels, count + frames, height, width)
    return {**latent, "samples": longer, REFERENCES_TAG: References(count, count + frames)}


def model_latent(model: WanModel, latent: dict[str, Any]) -> Tensor:
    """The normalised latent of a LATENT, for this model: [B, C, T, h, w], float32; zeros stay zeros.

    Raises:
        InvalidInputError: it is no video latent.
        PairingError: its VAE belongs to another model.
    """
    instance_of(model, WanModel, "model", "the model of Load Wan Model")
    samples = video_samples(latent)
    if VAE_TAG in latent:
        check_pair(model.spec, latent[VAE_TAG].spec)
    blank = has_values(samples) and not samples.any()  # zeros mean "nothing" in raw and in normalised units
    made_for, stride = latent.get(STRIDE_KEY), model.spec.family.spatial_stride
    if blank and made_for not in (None, stride):
        raise PairingError(
            f"The empty latent was made for a model with {made_for} pixels to a latent pixel, but {model.file} has "
            f"{stride}: its video would have another size. Make it with Wan Empty Latent."
        )
    return (
        samples
        if blank or samples.shape[1] != model.spec.family.latent_channels
        else model.spec.family.normalize(samples)
    )


def native_latent(model: WanModel, latent: dict[str, Any], sampled: Tensor) -> dict[str, Any]:
    """The LATENT of a sampled, normalised latent; `latent` is the one it came from, whose other entries it keeps."""
    kept = {key: value for key, value in latent.items() if key not in _RATIO_KEYS}
    return {**kept, "samples": model.spec.family.denormalize(sampled), MODEL_TAG: MadeBy(model.spec)}


def video_samples(latent: dict[str, Any]) -> Tensor:
    """The samples of a LATENT, float32.

    Raises:
        InvalidInputError: it is no video latent.
    """
    advice = "Make it with Wan Empty Latent, Wan Image To Video or Wan Encode Video."
    if not isinstance(latent, dict) or "samples" not in latent:
        got = "a dict without them" if isinstance(latent, dict) else kind_of(latent)
        raise InvalidInputError(f"A latent must be a dict with 'samples', got {got}. {advice}")
    samples = tensor_of(latent["samples"], "A video latent", "a tensor of 5 dimensions", advice)
    if samples.ndim != 5 or 0 in samples.shape:
        raise InvalidInputError(
            "A video latent has 5 dimensions [batch, channels, frames, height, width], got "
            f"{list(samples.shape)}. {advice}"
        )
    return samples.float()


def made_by(vae: Any) -> dict[str, MadeBy]:
    """The value that says which VAE made something, if that is one of ours."""
    spec = getattr(vae, "spec", None)
    return {} if spec is None else {VAE_TAG: MadeBy(spec)}
