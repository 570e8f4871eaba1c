"""Do two model files, or a model and its inputs, belong together? Asked before any work, answered in one sentence."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from ..common.errors import PairingError
from ..common.families import WAN_2_1, WAN_2_2_5B
from ..common.log import logger
from ..common.model_names import ModelNames
from ..dit.branches.branch import Branch
from ..dit.branches.clip import Clip
from ..dit.branches.known import BRANCHES
from ..dit.config import DiTConfig
from ..dit.inputs import check_branch, check_latent, check_text
from ..text_encoder.clip_vision import ClipVisionConfig
from ..text_encoder.umt5 import UMT5Config
from ..vae3d.config import VAEConfig
from .publishing.known_files import MODELS_WITH, module_file, where_to_get
from .spec import ModelSpec

# high_noise, HighNoise, HIGH-noise; and as the wrapper's author names his files.
_NOISE = re.compile(r"((?<![A-Za-z])(?:high|low)|(?:High|Low)|(?<![A-Z])(?:HIGH|LOW))[-_ .]?(?i:noise)")
_WRAPPER_NOISE = re.compile(r"A14B[-_](HIGH|LOW)(?![A-Za-z])")


def check_pair(model: ModelSpec, partner: ModelSpec) -> None:
    """Checks a transformer against a VAE, text encoder, CLIP vision encoder or a branch by itself.

    Raises:
        PairingError: they do not belong together; the message names both files and the right one.
    """
    assert isinstance(model.config, DiTConfig)
    _CHECKS[partner.kind](model, model.config, partner)


def check_experts(high: ModelSpec, low: ModelSpec) -> None:
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
    advice = "Use the two files of the same Wan 2.2 14B model: one has high_noise, the other low_noise in its name."
    module = next((each for each in set(high.config.branches) ^ set(low.config.branches) if each.module_kind), None)
    if module is not None and _without(high.config, module) == _without(low.config, module):
        advice = (
            f"Only one has {module.title}: choose the same {module.module_kind} in both Load Wan Model nodes, or two "
            f"files with {module.title}."
        )
    raise PairingError(
        f"{high.path.name} ({high.title}) and {low.path.name} ({low.title}) are not two experts of one model. {advice}"
    )


def _expert_by_name(path: Path) -> str | None:
    """Which expert a file is, "high" or "low", by its name or else its folder's: nothing inside the file tells."""
    for name, patterns in ((path.name, (_NOISE, _WRAPPER_NOISE)), (path.parent.name, (_NOISE,))):
        found = {match[1].lower() for pattern in patterns for match in pattern.finditer(name)}
        if len(found) == 1:
            return found.pop()
    return None


def _check_vae(model: ModelSpec, config: DiTConfig, vae: ModelSpec) -> None:
    assert isinstance(vae.config, VAEConfig)
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


def _whose_vae(model: ModelSpec, vae: ModelSpec) -> str:
    """The rule that people trip over, where it was broken: the number in a model's name is not that of its VAE."""
    if {model.family, vae.family} != {WAN_2_1, WAN_2_2_5B}:
        return ""
    return ": of the Wan 2.2 models only TI2V-5B uses the Wan 2.2 VAE, the 14B ones use that of Wan 2.1"


def _check_text_encoder(model: ModelSpec, config: DiTConfig, encoder: ModelSpec) -> None:
    assert isinstance(encoder.config, UMT5Config)
    is_shared = encoder.family.text_encoder_file == model.family.text_encoder_file
    if encoder.config.dim != config.text_dim or not is_shared:
        raise PairingError(
            f"{encoder.path.name} ({encoder.title}) gives text embeddings of width {encoder.config.dim}, but "
            f"{model.path.name} ({model.title}) needs width {config.text_dim} of {model.family.title}. "
            f"Use {model.family.text_encoder_file}."
        )


def _check_clip(model: ModelSpec, config: DiTConfig, encoder: ModelSpec) -> None:
    assert isinstance(encoder.config, ClipVisionConfig)
    check_branch(config, Clip, encoder.config.dim, replace(_names(model), source=encoder.path.name))


def _check_vace_module(model: ModelSpec, config: DiTConfig, module: ModelSpec) -> None:
    assert isinstance(module.config, DiTConfig)
    name = f"{model.path.name} ({model.title})"
    branch = module.config.branches[0]
    if config.branch(type(branch)) is not None:
        raise PairingError(
            f"{name} has {branch.title} blocks of its own and takes no module. Remove {module.path.name}, or choose a "
            "text-to-video model."
        )
    if not _takes_module(model, config) or model.family is not module.family:
        raise PairingError(
            f"{module.path.name} belongs onto a text-to-video model of {module.family.title}, but {name} is none. Use "
            f"{where_to_get('dit')}."
        )
    if _block_sizes(config) != _block_sizes(module.config) or module.config.layers > config.layers:
        raise PairingError(
            f"{module.path.name} has {branch.title} blocks of width {module.config.dim}, but {name} has "
            f"{config.layers} blocks of width {config.dim}. Use {module_file(module.kind, config.dim)}."
        )


def _takes_module(model: ModelSpec, config: DiTConfig) -> bool:
    """Whether it is a text-to-video model; TI2V-5B, for which there are no modules, is none."""
    return config.in_channels == config.out_channels and not model.family.given_in_latent


def _without(config: DiTConfig, branch: Branch[DiTConfig]) -> DiTConfig:
    return replace(config, branches=tuple(each for each in config.branches if type(each) is not type(branch)))


def _names(model: ModelSpec) -> ModelNames:
    """What an error of a lower room is to say of a model."""
    assert isinstance(model.config, DiTConfig)
    with_branches = {kind.name: _model_with(kind, model, model.config) for kind in BRANCHES if kind.name in MODELS_WITH}
    files = {
        "vae": model.family.vae_file,
        "text_encoder": model.family.text_encoder_file,
        "clip_vision": model.clip_vision_file,
    }
    return ModelNames(f"{model.path.name} ({model.title})", files | with_branches)


def _model_with(kind: type[Branch[DiTConfig]], model: ModelSpec, config: DiTConfig) -> str:
    """What to choose in place of a model that lacks a branch."""
    example = f"a {kind.title} model such as {MODELS_WITH[kind.name]}"
    if kind.module_kind is None or not _takes_module(model, config):
        return example
    return f"{example}, or a {kind.title} module ({module_file(kind.module_kind, config.dim)}) in Load Wan Model"


def _block_sizes(config: DiTConfig) -> tuple[int, int, int]:
    return config.dim, config.ffn_dim, config.heads


_CHECKS = {
    "vae": _check_vae,
    "text_encoder": _check_text_encoder,
    "clip_vision": _check_clip,
    "vace_module": _check_vace_module,
}


def check_inputs(
    model: ModelSpec,
    *,
    latent_channels: int,
    text_width: int,
    has_image: bool,
    steering: Mapping[type[Branch[DiTConfig]], int | None] = MappingProxyType({}),
) -> None:
    """Checks what arrives at the sampler against the transformer.

    Args:
        latent_channels: channels of the LATENT.
        text_width: width of the text embedding.
        has_image: whether start, end or key frames are given in channels beside the latent.
        steering: by kind of branch, how wide what steers it is; None where that is checked with its size.

    Raises:
        PairingError: the model cannot work with them; the message says what to connect or to choose instead.
    """
    config, names = model.config, _names(model)
    assert isinstance(config, DiTConfig)
    check_latent(config, latent_channels, names)
    check_text(config, text_width, names)
    for kind, width in steering.items():
        if kind.partner is None:
            check_branch(config, kind, width, names)
    check_image_input(model, has_image)  # before the features of the image
    for kind, width in steering.items():
        check_branch(config, kind, width, names)
    for branch in config.branches:
        if branch.expected is not None and type(branch) not in steering and model.start_image == "required":
            logger.warning("%s %s.", names.model, branch.expected)


def check_image_input(model: ModelSpec, has_image: bool) -> None:
    """Refuses given frames for a text-to-video model, and none for an image-to-video model.

    Raises:
        PairingError: the message says what to connect or to choose instead.
    """
    name = f"{model.path.name} ({model.title})"
    if has_image and model.family.given_in_latent:
        raise PairingError(
            f"{name} takes its start image inside the latent, not in channels beside it. Connect Wan Image To Video "
            f"with {model.family.vae_file}, and its LATENT."
        )
    if has_image and model.start_image == "none":
        raise PairingError(
            f"{name} is a text-to-video model and cannot take a start image. Choose an image-to-video model such as "
            "wan2.1_i2v_480p_14B_bf16.safetensors, or remove the image."
        )
    if not has_image and model.start_image == "required":
        raise PairingError(
            f"{name} is an image-to-video model and needs a start image. Connect Wan Image To Video between the "
            f"prompt and the sampler, or choose a text-to-video model: get {where_to_get('dit')}."
        )
