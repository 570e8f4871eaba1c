"""What a model file in a graph takes: from its header, or before it is downloaded from what is known of it."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from ...common.errors import MissingFileError
from ...common.families import WAN_2_1, WAN_2_2_5B, Family
from ...dit.footprint import PLAIN
from ...dit.presets import PRESETS
from ...model_loading.branch_module import bytes_with_module
from ...model_loading.footprint import ModelBytes, bytes_before_download, model_bytes
from ...model_loading.kinds import CLIP_VISION, DIT, VACE_MODULE, VAE
from ...model_loading.opening import open_checkpoint
from ...model_loading.precision import Precision
from ...model_loading.publishing.known_files import KnownFile, known_file
from ...model_loading.recognition.detect import inspect_as
from ...model_loading.spec import AnyKind
from ...text_encoder.clip_vision import CLIP_VIT_H
from ...text_encoder.footprint import block_elements, other_elements
from ...text_encoder.umt5 import UMT5_XXL
from ...vae3d.config import WAN_2_1_VAE, WAN_2_2_VAE
from ..hosts.host import host
from ..model_files import find_model

DEVICE = "cuda"
"""Plans are for a device that is not a CPU; which one it is does not matter to the number format."""

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


class Facts(NamedTuple):
    """One model of a graph: its file's name, its sizes, what its weights take, its family; whether it `is_here`."""

    name: str
    config: Any
    weights: ModelBytes
    family: Family
    is_here: bool


def model_facts(kind: AnyKind, name: str, precision: Precision = "auto", vace_module: str | None = None) -> Facts:
    """The facts of the model of a kind that is called `name`.

    Raises:
        MissingFileError: it is not there, and not a known published file either.
        CheckpointError: the file cannot be used.
    """
    path = host().find_model(kind.folder_name, name)
    if path is None:
        return facts_before_download(kind, name, precision, vace_module)
    checkpoint = open_checkpoint(path)
    spec = inspect_as(checkpoint, kind)
    weights, config = model_bytes(checkpoint, spec, precision, DEVICE), spec.config
    if vace_module is not None:
        path = find_model(DIT.folder_name, vace_module)
        weights, config = bytes_with_module(weights, spec, path, VACE_MODULE, precision, DEVICE)
    return Facts(name, config, weights, spec.family, is_here=True)


def facts_before_download(
    kind: AnyKind, name: str, precision: Precision = "auto", vace_module: str | None = None
) -> Facts:
    """As `model_facts`, of a known published file, whether it is here or not."""
    known = known_file(name)
    if known is None or known.kind != kind.files or vace_module is not None:
        raise MissingFileError(
            f"{vace_module or name} is not in the models folders, and its size is not known beforehand. Give --models "
            "or --comfyui, or a file that `wan-director download ?` lists."
        )
    if kind is DIT:
        preset = next(preset for pattern, preset in _PRESETS if re.search(pattern, known.name))
        config = PRESETS[preset]
        storage = "fp8" if "fp8" in known.name or precision.startswith("fp8") else "bf16"
        weights = bytes_before_download(config, storage)
        is_cast = precision.startswith("fp8") and "fp8" not in known.name
        weights = weights._replace(anonymous=weights.total if is_cast else 0)
        return Facts(name, config, weights, _family(preset), is_here=False)
    return _known_part(kind, known, precision)


def _known_part(kind: AnyKind, known: KnownFile, precision: Precision) -> Facts:
    scale = 2 if precision == "fp32" else 1  # all of these files have 16 bits, or fp8
    itemsize = 2 * scale
    is_5b = "2.2" in known.name
    whole = ModelBytes(known.size_bytes * scale, (), itemsize, PLAIN, 0)
    if kind is VAE:
        config, family = (WAN_2_2_VAE, WAN_2_2_5B) if is_5b else (WAN_2_1_VAE, WAN_2_1)
        return Facts(known.name, config, whole, family, is_here=False)
    if kind is CLIP_VISION:
        return Facts(known.name, CLIP_VIT_H, whole, WAN_2_1, is_here=False)
    per_number = 1 if "fp8" in known.name or precision.startswith("fp8") else itemsize
    blocks = (block_elements(UMT5_XXL) * per_number,) * UMT5_XXL.layers
    other = other_elements(UMT5_XXL) * (1 if "fp8" in known.name else itemsize)
    weights = ModelBytes(other, blocks, itemsize, PLAIN, 0)
    return Facts(known.name, UMT5_XXL, weights, WAN_2_1, is_here=False)


def _family(preset: str) -> Family:
    return WAN_2_2_5B if preset == "ti2v-5B" else WAN_2_1
