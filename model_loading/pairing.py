"""Do two model files, or a model and its inputs, belong together? Asked before any work, answered in one sentence."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ..common.errors import PairingError
from ..common.families import TINY, WAN_2_1, WAN_2_2_5B
from ..common.log import logger
from ..common.model_names import ModelNames, Words
from ..common.places import Place
from ..dit.branches.branch import Branch
from ..dit.branches.clip import ClipBranch
from ..dit.branches.known import BRANCHES
from ..dit.config import DiTConfig
from ..dit.inputs import check_branch, check_latent, check_text
from ..text_encoder.clip_vision import ClipVisionConfig
from ..text_encoder.umt5 import UMT5Config
from ..vae3d.config import VAEConfig
from .publishing.known_files import INFINITETALK_MODEL, MODELS_WITH, USUAL_MODEL, module_file, where_to_get
from .spec import ModelSpec

# high_noise, HighNoise, HIGH-noise; and as the wrapper's author names his files.
_NOISE = re.compile(r"((?<![A-Za-z])(?:high|low)|(?:High|Low)|(?<![A-Z])(?:HIGH|LOW))[-_ .]?(?i:noise)")
_WRAPPER_NOISE = re.compile(r"A14B[-_](HIGH|LOW)(?![A-Za-z])")


LOAD_MODEL = Place("load dit", "the diffusion model loader")
START_IMAGE = Place("start image", "the start image")
ANIMATE = Place("animate", "the reference picture and the poses of Wan-Animate")
FUN_CONTROL = Place("fun control", "the control video of a Fun model")
SCAIL_CONDITIONING = Place("scail", "the reference and poses of SCAIL")
SPEECH = Place("speech to video", "the conditioning of a speech-to-video model")
HUMO = Place("humo", "the sound and the picture of HuMo")
DANCE = Place("dance", "the picture and the music of Wan-Dancer")
SOURCE_VIDEO = Place("source video", "the clip to edit")


def check_pair(model: ModelSpec[DiTConfig], partner: ModelSpec[Any]) -> None:
    """Checks a transformer against a VAE, text encoder, CLIP vision encoder or a branch by itself.

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
    module = next((each for each in set(high.config.branches) ^ set(low.config.branches) if each.module_kind), None)
    if module is not None and high.config.without(type(module)) == low.config.without(type(module)):
        raise PairingError(
            f"{found}Only one has {module.words}: choose the same {module.module_kind} in both ", LOAD_MODEL,
            f" nodes, or two files with {module.words}.",
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


def check_same_size(vae: ModelSpec[VAEConfig], why: str) -> None:
    """Refuses a VAE that makes pictures larger than it takes them where they go back into the model.

    Args:
        why: what becomes of them, as the end of a sentence.

    Raises:
        PairingError: it does.
    """
    if vae.config.enlargement > 1:
        raise PairingError(
            f"{vae.path.name} decodes pictures of {vae.config.enlargement} times the size that it encodes, and {why}. "
            f"Use {vae.family.vae_file} here, and this VAE where a finished latent is decoded."
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
    check_branch(model.config, ClipBranch, encoder.config.dim, replace(_names(model), source=encoder.path.name))


def check_module(model: ModelSpec[DiTConfig], module: ModelSpec[DiTConfig]) -> None:
    """`check_pair` for a branch by itself."""
    config, branch = model.config, module.config.branches[0]
    name = f"{model.path.name} ({model.title})"
    if config.branch(type(branch)) is not None:
        raise PairingError(
            f"{name} has {branch.words} blocks of its own and takes no module. Remove {module.path.name}, or choose a "
            "text-to-video model."
        )
    if not _takes_module(model) or model.family is not module.family:
        raise PairingError(
            f"{module.path.name} belongs onto a text-to-video model of {module.family.title}, but {name} is none. Use "
            f"{where_to_get(USUAL_MODEL)}."
        )
    if _block_sizes(config) != _block_sizes(module.config) or module.config.layers > config.layers:
        raise PairingError(
            f"{module.path.name} has {branch.words} blocks of width {module.config.dim}, but {name} has "
            f"{config.layers} blocks of width {config.dim}. Use {module_file(module.kind.name, config.dim)}."
        )


def check_speed_module(model: ModelSpec[DiTConfig], module: ModelSpec[DiTConfig]) -> None:
    """`check_pair` for speed control by itself."""
    config, branch = model.config, module.config.branches[0]
    name = f"{model.path.name} ({model.title})"
    if config.branch(type(branch)) is not None:
        raise PairingError(f"{name} has {branch.words} of its own and takes no module. Remove {module.path.name}.")
    if config.dim != module.config.dim or model.family is not module.family:
        raise PairingError(
            f"{module.path.name} is {branch.words} for a {module.family.title} model of width {module.config.dim}, but "
            f"{name} has width {config.dim}. Use {where_to_get(USUAL_MODEL)}, or remove the module."
        )


def check_uni3c_module(model: ModelSpec[DiTConfig], module: ModelSpec[DiTConfig]) -> None:
    """`check_pair` for Uni3C by itself."""
    config, branch = model.config, module.config.branches[0]
    name = f"{model.path.name} ({model.title})"
    if config.branch(type(branch)) is not None:
        raise PairingError(f"{name} has {branch.words} of its own and takes no module. Remove {module.path.name}.")
    fits = config.dim == module.config.dim and module.config.layers <= config.layers
    if not fits or model.family is not module.family:
        raise PairingError(
            f"{module.path.name} is {branch.words} for {module.family.title} models of width {module.config.dim} with "
            f"{module.config.layers} blocks or more, but {name} has {config.layers} of width {config.dim}. Use a 14B "
            "model, or remove the module."
        )


def check_infinitetalk_module(model: ModelSpec[DiTConfig], module: ModelSpec[DiTConfig]) -> None:
    """`check_pair` for InfiniteTalk by itself."""
    config, branch = model.config, module.config.branches[0]
    name = f"{model.path.name} ({model.title})"
    if config.branch(type(branch)) is not None:
        raise PairingError(f"{name} has {branch.words} of its own and takes no module. Remove {module.path.name}.")
    if _animates_otherwise(config) or model.family is not module.family:
        raise PairingError(
            f"{module.path.name} belongs onto a model of image to video of {module.family.title}, but {name} is none. "
            f"Use {where_to_get(INFINITETALK_MODEL)}, or remove the module."
        )
    if (config.dim, config.layers) != (module.config.dim, module.config.layers):
        raise PairingError(
            f"{module.path.name} is {branch.words} for models of {module.config.layers} blocks of width "
            f"{module.config.dim}, but {name} has {config.layers} of width {config.dim}. Use "
            f"{where_to_get(INFINITETALK_MODEL)}, or remove the module."
        )


def _animates_otherwise(config: DiTConfig) -> bool:
    """Whether a transformer is another one than of image to video, plain or with what does not bear on its blocks."""
    others = {branch.name for branch in config.branches} - {"clip", "speed", "uni3c"}
    return config.mask_channels + config.out_channels != config.image_channels or bool(others)


def _takes_module(model: ModelSpec[DiTConfig]) -> bool:
    """Whether it is a text-to-video model; TI2V-5B, for which there are no modules, is none."""
    return not model.config.image_channels and not model.family.given_in_latent


def _names(model: ModelSpec[DiTConfig]) -> ModelNames:
    """What an error of a lower room is to say of a model."""
    files: dict[str, Words] = {kind: (name,) for kind, name in model.family.files.items()}
    files |= {kind.name: _model_with(kind, model) for kind in BRANCHES if kind.name in MODELS_WITH}
    return ModelNames(f"{model.path.name} ({model.title})", files)


def _model_with(kind: type[Branch[DiTConfig]], model: ModelSpec[DiTConfig]) -> Words:
    """What to choose in place of a model that lacks a branch."""
    title = kind.words if kind.module_kind is not None else f"Wan {kind.title}"
    example = f"a {title} model such as {MODELS_WITH[kind.name]}"
    if kind.module_kind is None or not _takes_module(model):
        return (example,)
    module = module_file(kind.module_kind, model.config.dim)
    return f"{example}, or a {kind.words} module ({module}) in ", LOAD_MODEL


def _block_sizes(config: DiTConfig) -> tuple[int, int, int]:
    return config.dim, config.ffn_dim, config.heads


def check_inputs(
    model: ModelSpec[DiTConfig],
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
    check_latent(config, latent_channels, names)
    check_text(config, text_width, names)
    for kind, width in steering.items():
        if kind.partner is None:
            check_branch(config, kind, width, names)
    check_image_input(model, has_image)  # before what another model makes of the image
    for kind, width in steering.items():
        check_branch(config, kind, width, names)
    always = _always_steered(config)
    if always is not None and type(always) not in steering:
        what, place = _PREPARED[always.name]
        raise PairingError(
            f"{names.model} is {what}, and nothing is prepared for it. Connect ", place, " between the prompt and the "
            f"sampler, or choose a text-to-video model: get {where_to_get(USUAL_MODEL)}.",
        )  # fmt: skip
    for branch in config.branches:
        is_usual = model.family is TINY or not config.image_channels  # the tiny demo model was trained without, too
        if branch.expected is not None and type(branch) not in steering and not is_usual:
            logger.warning("%s %s.", names.model, branch.expected)


def check_image_input(model: ModelSpec[DiTConfig], has_image: bool) -> None:
    """Refuses given frames for a text-to-video model, and none for one that needs them, a control video or a clip.

    Args:
        has_image: whether given frames, a control video or a clip to edit are in channels beside the latent.

    Raises:
        PairingError: the message says what to connect or to choose instead.
    """
    name = f"{model.path.name} ({model.title})"
    if has_image and model.family.given_in_latent and not model.config.image_channels:
        raise PairingError(
            f"{name} takes its start image inside the latent, not in channels beside it. Connect ", START_IMAGE,
            f" with {model.family.vae_file}, and its LATENT.",
        )  # fmt: skip
    if has_image and model.config.has_mask_alone:
        raise PairingError(
            f"{name} takes no start image in channels beside its latent. Connect ", SCAIL_CONDITIONING,
            " in place of what gives it: its reference_image says who is seen, its previous_frames go before.",
        )  # fmt: skip
    always = _always_steered(model.config)
    if has_image and always is not None and model.start_image == "none":
        what, place = _PREPARED[always.name]
        raise PairingError(
            f"{name} is {what} and takes no start image in channels beside the latent. Connect the picture as the "
            "reference of ", place, " instead.",
        )  # fmt: skip
    if has_image and model.start_image == "none":
        raise PairingError(
            f"{name} is a text-to-video model and cannot take a start image. Choose an image-to-video model such as "
            "wan2.1_i2v_480p_14B_bf16.safetensors, or remove the image."
        )
    if not has_image:
        check_unsteered(model, ())
    if not has_image and model.config.source_channels:
        raise PairingError(
            f"{name} edits a clip and needs it. Connect ", SOURCE_VIDEO, " between the prompt and the sampler, or "
            f"choose a model that makes videos from text: get {where_to_get(USUAL_MODEL)}.",
        )  # fmt: skip
    if not has_image and model.config.control_channels:
        raise PairingError(
            f"{name} is a Fun-Control model and needs a control video. Connect ", FUN_CONTROL, " between the prompt "
            f"and the sampler, or choose a text-to-video model: get {where_to_get(USUAL_MODEL)}.",
        )  # fmt: skip
    if not has_image and any(branch.name == "animate" for branch in model.config.branches):
        raise PairingError(
            f"{name} is a Wan-Animate model and needs a reference picture. Connect ", ANIMATE, " between the prompt "
            f"and the sampler, or choose a text-to-video model: get {where_to_get(USUAL_MODEL)}.",
        )  # fmt: skip
    if not has_image and model.start_image == "required":
        what, place = "an image-to-video model", FUN_CONTROL if model.family.given_in_latent else START_IMAGE
        if always is not None:
            what, place = _PREPARED[always.name]
        raise PairingError(
            f"{name} is {what} and needs a start image. Connect ", place, " between the prompt and the sampler, or "
            f"choose a text-to-video model: get {where_to_get(USUAL_MODEL)}.",
        )  # fmt: skip


_PREPARED = {
    "s2v_pose": ("a speech-to-video model", SPEECH),
    "humo": ("a HuMo model", HUMO),
    "dance": ("a Wan-Dancer model", DANCE),
}
"""By branch that is always steered, what a model with it is and where what steers it is made."""


def _always_steered(config: DiTConfig) -> Branch[DiTConfig] | None:
    return next((branch for branch in config.branches if branch.is_always_steered), None)


def check_unsteered(model: ModelSpec[DiTConfig], kinds: Collection[type]) -> None:
    """Refuses a run in which nothing steers a branch that makes no sense without.

    Args:
        kinds: of the branches that something steers.

    Raises:
        PairingError: it is so; the message says what to connect.
    """
    for branch in model.config.branches:
        error = None if type(branch) in kinds else branch.unsteered(_names(model))
        if error is not None:
            raise error
