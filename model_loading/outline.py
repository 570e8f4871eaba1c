"""What a model is and takes, without reading its weights: from its header, or before it is downloaded from its name."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import torch

from ..common.errors import MissingFileError
from ..common.families import WAN_2_1, WAN_2_2_5B, Family
from ..dit.config import PRESETS
from ..dit.footprint import PLAIN as PLAIN_MATRICES
from ..text_encoder.clip_vision import CLIP_VIT_H
from ..text_encoder.footprint import block_elements, other_elements
from ..text_encoder.umt5 import UMT5_XXL
from ..vae3d.config import WAN_2_1_VAE, WAN_2_2_VAE
from .footprint import ModelBytes, bytes_before_download, model_bytes
from .formats.plain import PLAIN
from .key_maps.layouts import Kind
from .opening import open_checkpoint
from .precision import Precision, choose_dtype
from .publishing.known_files import KnownFile, known_file
from .recognition.detect import inspect_checkpoint
from .recognition.titles import find_preset, start_image, title
from .spec import ModelConfig, ModelSpec, require_kind
from .vace_module import inspect_vace_module, with_vace_module

# Name of a known transformer -> its preset; the first that matches.
_PRESETS = (
    (r"wan2\.2_i2v|wan2\.2_fun_inpaint", "i2v-A14B"),
    (r"fun_inp_1\.3B", "fun-inp-1.3B"),
    (r"ti2v", "ti2v-5B"),
    (r"vace.*1\.3B", "vace-1.3B"),
    (r"vace", "vace-14B"),
    (r"flf2v", "flf2v-14B"),
    (r"i2v|I2V", "i2v-14B"),
    (r"1\.3B", "t2v-1.3B"),
    (r".", "t2v-14B"),
)
_CONFIGS: Mapping[Kind, Mapping[Family, ModelConfig]] = MappingProxyType({
    "vae": {WAN_2_1: WAN_2_1_VAE, WAN_2_2_5B: WAN_2_2_VAE},
    "text_encoder": {WAN_2_1: UMT5_XXL},
    "clip_vision": {WAN_2_1: CLIP_VIT_H},
})  # fmt: skip


class Outline(NamedTuple):
    """What a model file holds, the dtype to compute in, and what its weights take."""

    spec: ModelSpec
    dtype: torch.dtype
    weights: ModelBytes


def outline(
    path: Path,
    kind: Kind,
    precision: Precision = "auto",
    device: torch.device | str | None = None,
    vace_module: Path | None = None,
) -> Outline:
    """The outline of a model as `build` loads it with this precision for a device.

    Args:
        path: a file or folder; one that is not there is known by its name if it is a published one.
        vace_module: that is added to a transformer.

    Raises:
        MissingFileError: it is not there, and no published file either.
        CheckpointError, PairingError: it cannot be used.
        InvalidInputError: see `precision.choose_dtype`.
    """
    if not os.path.exists(path):  # False for names too long
        return published_outline(path.name, kind, precision, device, vace_module)
    checkpoint = open_checkpoint(path)
    spec = inspect_checkpoint(checkpoint, kind)
    require_kind(spec, kind)
    dtype = choose_dtype(spec, precision, device).dtype
    made = Outline(spec, dtype, model_bytes(checkpoint, spec, precision, device))
    return made if vace_module is None else _with_module(made, vace_module, precision, device)


def published_outline(
    name: str,
    kind: Kind,
    precision: Precision = "auto",
    device: torch.device | str | None = None,
    vace_module: Path | None = None,
) -> Outline:
    """As `outline`, of a known published file, whether it is here or not."""
    known = known_file(name)
    if known is None or known.kind != kind or vace_module is not None:
        raise MissingFileError(
            f"{name if vace_module is None else vace_module.name} is not in the models folders, and its size is not "
            "known beforehand. Give --models or --comfyui, or a file that `wan-director download ?` lists."
        )
    if kind == "dit":
        config = PRESETS[next(preset for pattern, preset in _PRESETS if re.search(pattern, known.name))]
        family = WAN_2_2_5B if config == PRESETS["ti2v-5B"] else WAN_2_1
    else:
        family = WAN_2_2_5B if kind == "vae" and "2.2" in known.name else WAN_2_1
        config = _CONFIGS[kind][family]
    weights = _published_bytes(known, config, precision)
    spec = _published_spec(known, kind, config, family, weights.total // weights.itemsize)
    return Outline(spec, choose_dtype(spec, precision, device).dtype, weights)


def _published_spec(known: KnownFile, kind: Kind, config: ModelConfig, family: Family, parameters: int) -> ModelSpec:
    preset, stored = find_preset(config), "F16" if "fp16" in known.name else "BF16"
    return ModelSpec(
        path=Path(known.name),
        kind=kind,
        family=family,
        preset=preset,
        title=title(kind, config, family, preset),
        naming="official",
        prefix="",
        weight_format=PLAIN,
        file_dtype=stored,
        plain_dtype=stored,
        config=config,
        parameters=parameters,
        size_bytes=known.size_bytes,
        start_image=start_image(config, family),
    )


def _published_bytes(known: KnownFile, config: ModelConfig, precision: Precision) -> ModelBytes:
    is_fp8, is_cast = "fp8" in known.name, precision.startswith("fp8")
    if known.kind == "dit":
        weights = bytes_before_download(config, "fp8" if is_fp8 or is_cast else "bf16")
        return weights._replace(anonymous=weights.total if is_cast and not is_fp8 else 0)
    scale = 2 if precision == "fp32" else 1  # all of these files have 16 bits, or fp8
    if known.kind != "text_encoder":
        return ModelBytes(known.size_bytes * scale, (), 2 * scale, PLAIN_MATRICES, 0)
    per_number = 1 if is_fp8 or is_cast else 2 * scale
    blocks = (block_elements(UMT5_XXL) * per_number,) * UMT5_XXL.layers
    other = other_elements(UMT5_XXL) * (1 if is_fp8 else 2 * scale)
    return ModelBytes(other, blocks, 2 * scale, PLAIN_MATRICES, 0)


def _with_module(base: Outline, path: Path, precision: Precision, device: torch.device | str | None) -> Outline:
    module = inspect_vace_module(path, base.spec)
    added = model_bytes(open_checkpoint(path), module, precision, device)
    whole = with_vace_module(base.spec, module)
    blocks = list(base.weights.blocks)
    for layer, size in reversed(list(zip(whole.config.vace_layers, added.blocks, strict=False))):
        blocks.insert(layer + 1, size)
    weights = base.weights._replace(fixed=base.weights.fixed + added.fixed, blocks=tuple(blocks))
    return base._replace(spec=whole, weights=weights)
