"""What a published model is and takes, by its name: known before it is downloaded."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from ...audio_encoder.config import WAV2VEC2_BASE, WAV2VEC2_LARGE, WHISPER_LARGE_V3
from ...common.errors import MissingFileError
from ...common.families import WAN_2_1, WAN_2_2_5B, Family
from ...dit.footprint import PLAIN as PLAIN_MATRICES
from ...dit.presets import INFINITETALK_14B, PRESETS, UNI3C_14B
from ...text_encoder import CLIP_VIT_H, UMT5_XXL
from ...text_encoder.footprint import block_elements, other_elements
from ...vae3d.config import WAN_2_1_VAE, WAN_2_2_VAE
from ..footprint import ModelBytes, Outline, bytes_before_download
from ..formats.plain import PLAIN
from ..kinds import CLIP_VISION, DIT, TEXT_ENCODER, VAE
from ..precision import Precision, choose_dtype
from ..recognition.titles import find_preset
from ..spec import AnyKind, ModelSpec
from .known_files import KnownFile, known_file

# Name of a known transformer -> its preset; the first that matches.
_PRESETS = (
    (r"causal_forcing", "t2v-1.3B"),
    (r"lucy-edit", "lucy-edit-5B"),
    (r"animate_2", "animate2-14B"),
    (r"animate_14B", "animate-14B"),
    (r"chrono_edit|WanMove", "i2v-14B"),
    (r"SCAIL_2", "scail2-14B"),
    (r"fun_inpaint_5B", "fun-inp-5B"),
    (r"fun_control_5B", "fun-control-5B"),
    (r"fun_control.*1\.3B", "fun-control-1.3B"),
    (r"fun_control", "fun-control-A14B"),
    (r"fun_camera.*1\.3B", "fun-camera-1.3B"),
    (r"2\.1_fun_camera", "fun-camera-14B"),
    (r"fun_camera", "fun-camera-A14B"),
    (r"wan2\.2_i2v|wan2\.2_fun_inpaint", "i2v-A14B"),
    (r"fun_inp_1\.3B", "fun-inp-1.3B"),
    (r"s2v", "s2v-14B"),
    (r"humo", "humo-17B"),
    (r"dancer", "dancer-14B"),
    (r"ti2v", "ti2v-5B"),
    (r"vace.*1\.3B", "vace-1.3B"),
    (r"vace", "vace-14B"),
    (r"flf2v", "flf2v-14B"),
    (r"i2v|I2V", "i2v-14B"),
    (r"1[._]3B", "t2v-1.3B"),
    (r".", "t2v-14B"),
)
_MORE_THAN_FP8 = 1.02
# Name of a known module -> a transformer that has it.
_WITH_MODULE: Mapping[str, Any] = MappingProxyType({
    "Wan2_1-VACE_module_1_3B_bf16.safetensors": PRESETS["vace-1.3B"],
    "Wan2_1-VACE_module_14B_bf16.safetensors": PRESETS["vace-14B"],
    "Wan21_Uni3C_controlnet_fp16.safetensors": UNI3C_14B,
    "wan2.1_infiniteTalk_single_fp16.safetensors": INFINITETALK_14B,
    "wan2.1_infiniteTalk_multi_fp16.safetensors": INFINITETALK_14B,
})  # fmt: skip
_CONFIGS: Mapping[tuple[str, Family], Any] = MappingProxyType({
    (VAE.name, WAN_2_1): WAN_2_1_VAE,
    (VAE.name, WAN_2_2_5B): WAN_2_2_VAE,
    (TEXT_ENCODER.name, WAN_2_1): UMT5_XXL,
    (CLIP_VISION.name, WAN_2_1): CLIP_VIT_H,
})  # fmt: skip
_ENCODERS: Mapping[str, Any] = MappingProxyType({
    "wav2vec2_large_english_fp16.safetensors": WAV2VEC2_LARGE,
    "wav2vec2-chinese-base_fp16.safetensors": WAV2VEC2_BASE,
    "whisper_large_v3_fp16.safetensors": WHISPER_LARGE_V3,
})  # fmt: skip


def published_outline(
    name: str,
    kind: AnyKind,
    precision: Precision = "auto",
    device: torch.device | str | None = None,
) -> Outline:
    """As `outline.outline`, of a known published file, whether it is here or not; of a module by itself, too."""
    known = known_file(name)
    if known is None or known.kind != kind.files:
        raise MissingFileError(
            f"{name} is not in the models folders, and its size is not "
            "known beforehand. Give --models or --comfyui, or a published file, which the command download '?' lists."
        )
    family, config, weights = _known(known, kind, precision)
    spec = _published_spec(known, kind, config, family, weights.total // weights.itemsize)
    return Outline(spec, choose_dtype(spec, precision, device).dtype, weights)


def _known(known: KnownFile, kind: AnyKind, precision: Precision) -> tuple[Family, Any, ModelBytes]:
    """What a published file belongs with, its sizes, and what its weights take."""
    whole = _WITH_MODULE.get(known.name)
    if whole is not None:
        own = sum(place.branch is not None for place in whole.block_order())
        return WAN_2_1, replace(whole, layers=own or whole.layers), _module_bytes(whole, precision)
    if kind is DIT:
        config = PRESETS[next(preset for pattern, preset in _PRESETS if re.search(pattern, known.name))]
        family = WAN_2_2_5B if config.out_channels == WAN_2_2_5B.latent_channels else WAN_2_1
    else:
        family = WAN_2_2_5B if kind is VAE and "2.2" in known.name else WAN_2_1
        config = _ENCODERS.get(known.name) or _CONFIGS[kind.name, family]
    return family, config, _published_bytes(known, config, precision)


def _published_spec(known: KnownFile, kind: AnyKind, config: Any, family: Family, parameters: int) -> ModelSpec[Any]:
    stored = "F16" if "fp16" in known.name else "BF16"
    return ModelSpec(
        path=Path(known.name),
        kind=kind,
        family=family,
        preset=find_preset(config),
        title=kind.title_of(config, family),
        naming="official",
        prefix="",
        weight_format=PLAIN,
        file_dtype=stored,
        plain_dtype=stored,
        config=config,
        parameters=parameters,
        size_bytes=known.size_bytes,
        start_image=kind.start_image(config, family),
    )


def _module_bytes(whole: Any, precision: Precision) -> ModelBytes:
    """What such a transformer takes more than one without the branch."""
    is_cast = precision.startswith("fp8")
    both, alone = (
        bytes_before_download(config, "fp8" if is_cast else "bf16") for config in (whole, replace(whole, branches=()))
    )
    own = tuple(size for size, place in zip(both.blocks, whole.block_order()) if place.branch is not None)
    if any(branch.in_blocks for branch in whole.branches):
        own = tuple(size - without for size, without in zip(both.blocks, alone.blocks))
    added = both._replace(fixed=both.fixed - alone.fixed, blocks=own)
    return added._replace(anonymous=added.total if is_cast else 0)


def _published_bytes(known: KnownFile, config: Any, precision: Precision) -> ModelBytes:
    is_fp8, is_cast = "fp8" in known.name or "int8" in known.name, precision.startswith("fp8")
    if known.kind == DIT.files:
        has_bytes = is_fp8 or "int8" in known.name  # in both, a matrix has a byte a number, and scales
        weights = bytes_before_download(config, "fp8" if has_bytes or is_cast else "bf16")
        if is_fp8 and known.size_bytes > _MORE_THAN_FP8 * weights.total:
            weights = _of_size(weights, known.size_bytes)
        return weights._replace(anonymous=weights.total if is_cast and not has_bytes else 0)
    scale = 2 if precision == "fp32" else 1  # all of these files have 16 bits, or fp8
    if known.kind != TEXT_ENCODER.files:
        return ModelBytes(known.size_bytes * scale, (), 2 * scale, PLAIN_MATRICES, 0)
    per_number = 1 if is_fp8 or is_cast else 2 * scale
    blocks = (block_elements(UMT5_XXL) * per_number,) * UMT5_XXL.layers
    other = other_elements(UMT5_XXL) * 2 * scale  # the embedding keeps its 16 bits in files of fp8, too
    return ModelBytes(other, blocks, 2 * scale, PLAIN_MATRICES, 0)


def _of_size(weights: ModelBytes, size_bytes: int) -> ModelBytes:
    """As large as the file: some publishers leave matrices of the blocks in 16 bits and do not say which."""
    times = (size_bytes - weights.fixed) / sum(weights.blocks)
    return weights._replace(blocks=tuple(round(block * times) for block in weights.blocks))
