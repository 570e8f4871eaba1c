"""Do two model files, or a model and its inputs, belong together? Asked before any work, answered in one sentence."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..common.errors import PairingError
from ..common.families import WAN_2_1, WAN_2_2_5B
from ..common.log import logger
from ..common.places import Place
from ..dit.config import PRESETS, DiTConfig
from ..text_encoder.clip_vision import ClipVisionConfig
from ..text_encoder.umt5 import UMT5Config
from ..vae3d.config import VAEConfig
from .publishing.known_files import USUAL_MODEL, where_to_get
from .spec import ModelSpec

# high_noise, HighNoise, HIGH-noise; and as the wrapper's author names his files.
_NOISE = re.compile(r"((?<![A-Za-z])(?:high|low)|(?:High|Low)|(?<![A-Z])(?:HIGH|LOW))[-_ .]?(?i:noise)")
_WRAPPER_NOISE = re.compile(r"A14B[-_](HIGH|LOW)(?![A-Za-z])")


LOAD_MODEL = Place("load dit", "the diffusion model loader")
START_IMAGE = Place("start image", "the start image")


def check_pair(model: ModelSpec[DiTConfig], partner: ModelSpec[Any]) -> None:
    """Checks a transformer against a VAE, text encoder, CLIP vision encoder or VACE module.

    Raises:
        PairingError: they do not belong together; the message names both files and the right one.
    """
    partner.kind.check_partner(model, partner)


def check_experts(high: ModelSpec[DiTConfig], low: ModelSpec[DiTConfig]) -> None:
    """Checks the high-noise and the low-noise expert of one model.

    Raises:
        PairingError: they are not of one model, or are connected the wrong way round by their names.
    """
    for spec, noise, other in ((high, "high", "low"), (low, "low", "high")):
        if _expert_by_name(spec.path) == other:
            raise PairingError(
                f"{spec.path.name} is the {other}-noise expert by its name, but it is connected as {noise}_noise. "
                f"Connect it as {other}_noise, and the file of the {noise}-noise expert here."
            )
    if high.family is low.family and high.config == low.config:
        return
    found = f"{high.path.name} ({high.title}) and {low.path.name} ({low.title}) are not two experts of one model. "
    if replace(high.config, vace_blocks=0) == replace(low.config, vace_blocks=0):
        raise PairingError(
            f"{found}Only one has VACE: choose the same vace_module in both ", LOAD_MODEL, " nodes, or two files with "
            "VACE.",
        )  # fmt: skip
    raise PairingError(
        f"{found}Use the two files of the same Wan 2.2 14B model: one has high_noise, the other low_noise in its name."
    )


def _expert_by_name(path: Path) -> str | None:
    """Which expert a file is, "high" or "low", by its name or else its folder's: nothing inside the file tells."""
    for name, patterns in ((path.name, (_NOISE, _WRAPPER_NOISE)), (path.parent.name, (_NOISE,))):
        found = {match[1].lower() for pattern in patterns for match in pattern.finditer(name)}
        if len(found) == 1:
            return found.pop()
    return None


def check_vae(model: ModelSpec[DiTConfig], vae: ModelSpec[VAEConfig]) -> None:
    """`check_pair` for a VAE."""
    config = model.config
    if vae.config.latent_channels != config.out_channels:
        raise PairingError(
            f"{vae.path.name} makes latents of {vae.config.latent_channels} channels, but {model.path.name} "
            f"({model.title}) works on {config.out_channels}. Use {model.family.vae_file}{_whose_vae(model, vae)}."
        )
    if vae.family is not model.family:
        raise PairingError(
            f"{vae.path.name} belongs to {vae.family.title}, but {model.path.name} to {model.family.title}. "
            f"Use {model.family.vae_file}."
        )


def _whose_vae(model: ModelSpec[DiTConfig], vae: ModelSpec[VAEConfig]) -> str:
    """The rule that people trip over, where it was broken: the number in a model's name is not that of its VAE."""
    if {model.family, vae.family} != {WAN_2_1, WAN_2_2_5B}:
        return ""
    return ": of the Wan 2.2 models only TI2V-5B uses the Wan 2.2 VAE, the 14B ones use that of Wan 2.1"


def check_text_encoder(model: ModelSpec[DiTConfig], encoder: ModelSpec[UMT5Config]) -> None:
    """`check_pair` for a text encoder."""
    config = model.config
    is_shared = encoder.family.text_encoder_file == model.family.text_encoder_file
    if encoder.config.dim != config.text_dim or not is_shared:
        raise PairingError(
            f"{encoder.path.name} ({encoder.title}) gives text embeddings of width {encoder.config.dim}, but "
            f"{model.path.name} ({model.title}) needs width {config.text_dim} of {model.family.title}. "
            f"Use {model.family.text_encoder_file}."
        )


def check_clip(model: ModelSpec[DiTConfig], encoder: ModelSpec[ClipVisionConfig]) -> None:
    """`check_pair` for a CLIP vision encoder."""
    config = model.config
    if config.clip_dim is None:
        raise PairingError(
            f"{model.path.name} ({model.title}) takes no CLIP vision features, but {encoder.path.name} gives some. "
            "Remove the CLIP vision input: only Wan 2.1 image-to-video models use it."
        )
    if encoder.config.dim != config.clip_dim:
        raise PairingError(
            f"{encoder.path.name} gives picture features of width {encoder.config.dim}, but {model.path.name} "
            f"({model.title}) needs {config.clip_dim}. Use {model.family.clip_vision_file}."
        )


def check_vace_module(model: ModelSpec[DiTConfig], module: ModelSpec[DiTConfig]) -> None:
    """`check_pair` for a VACE module."""
    config = model.config
    name = f"{model.path.name} ({model.title})"
    if config.vace_blocks:
        raise PairingError(
            f"{name} has VACE blocks of its own and takes no module. Remove {module.path.name}, or choose a "
            "text-to-video model."
        )
    if not _takes_vace_module(model) or model.family is not module.family:
        raise PairingError(
            f"{module.path.name} belongs onto a text-to-video model of {module.family.title}, but {name} is none. Use "
            f"{where_to_get(USUAL_MODEL)}."
        )
    if _block_sizes(config) != _block_sizes(module.config) or module.config.vace_blocks > config.layers:
        raise PairingError(
            f"{module.path.name} has VACE blocks of width {module.config.dim}, but {name} has {config.layers} blocks "
            f"of width {config.dim}. Use {_vace_module_file(config)}."
        )


def _takes_vace_module(model: ModelSpec[DiTConfig]) -> bool:
    """Whether it is a text-to-video model; TI2V-5B, for which there are no modules, is none."""
    return not model.config.image_channels and not model.family.given_in_latent


def _or_a_vace_module(model: ModelSpec[DiTConfig]) -> tuple[str | Place, ...]:
    """The other way to VACE, where there is one."""
    if not _takes_vace_module(model):
        return ()
    return f", or a VACE module ({_vace_module_file(model.config)}) in ", LOAD_MODEL


def _block_sizes(config: DiTConfig) -> tuple[int, int, int]:
    return config.dim, config.ffn_dim, config.heads


def _vace_module_file(config: DiTConfig) -> str:
    size = "1_3B" if config.dim == PRESETS["t2v-1.3B"].dim else "14B"
    return f"Wan2_1-VACE_module_{size}_bf16.safetensors"


def check_inputs(
    model: ModelSpec[DiTConfig],
    *,
    latent_channels: int,
    text_width: int,
    has_image: bool,
    clip_width: int | None = None,
    has_control: bool = False,
) -> None:
    """Checks what arrives at the sampler against the transformer.

    Args:
        latent_channels: channels of the LATENT.
        text_width: width of the text embedding.
        has_image: whether start, end or key frames are given in channels beside the latent.
        clip_width: width of the CLIP image features; None if there are none.
        has_control: whether a control video for VACE is given.

    Raises:
        PairingError: the model cannot work with them; the message says what to connect or to choose instead.
    """
    config, name = model.config, f"{model.path.name} ({model.title})"
    if latent_channels != config.out_channels:
        raise PairingError(
            f"The latent has {latent_channels} channels, but {name} works on {config.out_channels}. "
            f"Make it with {model.family.vae_file}."
        )
    if text_width != config.text_dim:
        raise PairingError(
            f"The text embedding has the width {text_width}, but {name} needs {config.text_dim}. "
            f"Encode the prompt with {model.family.text_encoder_file}."
        )
    if has_control and not config.vace_blocks:
        raise PairingError(
            f"{name} has no VACE blocks and cannot follow a control video. Choose a VACE model such as "
            "wan2.1_vace_14B_fp16.safetensors", *_or_a_vace_module(model), ".",
        )  # fmt: skip
    check_image_input(model, has_image)
    _check_clip_input(model, clip_width, name)


def check_image_input(model: ModelSpec[DiTConfig], has_image: bool) -> None:
    """Refuses given frames for a text-to-video model, and none for an image-to-video model.

    Raises:
        PairingError: the message says what to connect or to choose instead.
    """
    name = f"{model.path.name} ({model.title})"
    if has_image and model.family.given_in_latent:
        raise PairingError(
            f"{name} takes its start image inside the latent, not in channels beside it. Connect ", START_IMAGE,
            f" with {model.family.vae_file}, and its LATENT.",
        )  # fmt: skip
    if has_image and model.start_image == "none":
        raise PairingError(
            f"{name} is a text-to-video model and cannot take a start image. Choose an image-to-video model such as "
            "wan2.1_i2v_480p_14B_bf16.safetensors, or remove the image."
        )
    if not has_image and model.start_image == "required":
        raise PairingError(
            f"{name} is an image-to-video model and needs a start image. Connect ", START_IMAGE, " between the prompt "
            f"and the sampler, or choose a text-to-video model: get {where_to_get(USUAL_MODEL)}.",
        )  # fmt: skip


def _check_clip_input(model: ModelSpec[DiTConfig], clip_width: int | None, name: str) -> None:
    config = model.config
    if clip_width is None:
        if model.takes_clip and model.start_image == "required":
            logger.warning("%s was trained with CLIP vision features of its image; without them results differ.", name)
        return
    if config.clip_dim is None:
        raise PairingError(
            f"{name} takes no CLIP vision features. Remove the CLIP vision input: only Wan 2.1 image-to-video models "
            "use it."
        )
    if clip_width != config.clip_dim:
        raise PairingError(
            f"The CLIP vision features have the width {clip_width}, but {name} needs {config.clip_dim}. "
            f"Encode the image with {model.family.clip_vision_file}."
        )
