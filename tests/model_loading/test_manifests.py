"""The published files: for each a file with its true header is written, recognised, and matched tensor by tensor.

fixtures/published.json lists them as [repository, file, structure, recipe]. A structure (fixtures/structures) says
which tensors there are and their shapes, fixtures/models.json what such a file has to be recognised as, and a recipe
(fixtures/recipes.json) in which number formats it is stored and where that is known from. Files that come as several
parts or as pickles are written as one safetensors file: how a file is packed is tested elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import runpy
import struct
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
from torch import nn
from wan_director.common.errors import CheckpointError
from wan_director.dit.adapters import ParameterShapes
from wan_director.dit.branches.module import BranchModule
from wan_director.dit.model import WanDiT
from wan_director.model_loading.describe import describe
from wan_director.model_loading.files.checkpoint import DTYPE_BITS
from wan_director.model_loading.lora.load import read_lora
from wan_director.model_loading.opening import open_checkpoint
from wan_director.model_loading.recognition.detect import inspect_checkpoint
from wan_director.model_loading.spec import ModelSpec
from wan_director.text_encoder.clip_vision import ClipVisionEncoder
from wan_director.text_encoder.umt5 import UMT5Encoder
from wan_director.vae3d.vae import CausalVAE

FIXTURES = Path(__file__).parent / "fixtures"
SCRIPT = runpy.run_path(str(FIXTURES / "make_structures.py"))
MODULES = {
    "dit": WanDiT,
    "vace_module": BranchModule,
    "vae": CausalVAE,
    "text_encoder": UMT5Encoder,
    "clip_vision": ClipVisionEncoder,
}

Entry = tuple[str, tuple[int, ...]]
"""Number format and shape."""


def _table(name: str) -> Any:
    return json.loads((FIXTURES / f"{name}.json").read_text(encoding="utf-8"))


MODELS, RECIPES, FINGERPRINTS = _table("models"), _table("recipes"), _table("fingerprints")


@cache
def structure(name: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a model's tensors."""
    lines = (line.split() for line in (FIXTURES / "structures" / f"{name}.txt").read_text("utf-8").splitlines())
    return {
        tensor: tuple(map(int, shape.split("x"))) if shape != "-" else ()
        for pattern, shape in lines
        for tensor in SCRIPT["unfold"](pattern)
    }


def stored(shapes: dict[str, tuple[int, ...]], recipe: dict[str, Any]) -> tuple[dict[str, Entry], dict[str, bytes]]:
    """The tensors of a file as a recipe stores them, and the bytes of those that must not be zeros."""
    tensors: dict[str, Entry] = {}
    content: dict[str, bytes] = {}
    for name, shape in shapes.items():
        dtype = next((dtype for pattern, dtype in recipe.get("gguf", ()) if re.fullmatch(pattern, name)), None)
        is_matrix = name.endswith(".weight") and len(shape) == 2 and re.fullmatch(recipe.get("where", "(?!)"), name)
        if dtype is None:
            dtype = recipe["matrices"] if is_matrix else _small(shape, recipe)
        tensors[name] = (dtype, shape)
        for suffix, companion in recipe.get("companions", {}).items() if is_matrix else ():
            key = name.removesuffix(".weight") + suffix
            if isinstance(companion, dict):
                content[key] = json.dumps(companion).encode()
                tensors[key] = ("U8", (len(content[key]),))
            else:
                tensors[key] = (companion[0], tuple(shape[0] if size == "rows" else size for size in companion[1]))
    markers = {name: (dtype, tuple(shape)) for name, (dtype, shape) in recipe.get("markers", {}).items()}
    return tensors | markers, content


def _small(shape: tuple[int, ...], recipe: dict[str, Any]) -> str:
    """GGUF files keep vectors and small tensors in 32 bits."""
    return "F32" if "gguf" in recipe and (len(shape) == 1 or math.prod(shape) <= 1024) else recipe["others"]


def write_safetensors(path: Path, tensors: dict[str, Entry], content: dict[str, bytes]) -> None:
    """A sparse file: its true header, and holes for weights."""
    header, end = {}, 0
    for name, (dtype, shape) in tensors.items():
        start, end = end, end + math.prod(shape) * DTYPE_BITS[dtype] // 8
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": (start, end)}
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, data in content.items():
            file.seek(8 + len(text) + header[name]["data_offsets"][0])
            file.write(data)
    os.truncate(path, 8 + len(text) + end)


def write_gguf(path: Path, architecture: str, tensors: dict[str, Entry]) -> None:
    """As `write_safetensors`, in the GGUF format, version 3. Its dimensions run from the fastest to the slowest."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    infos, end = [], 0
    for name, (dtype, shape) in tensors.items():
        kind = gguf.GGMLQuantizationType[dtype]
        block, size = gguf.GGML_QUANT_SIZES[kind]
        dimensions = struct.pack(f"<I{len(shape)}Q", len(shape), *reversed(shape))
        infos.append(text(name) + dimensions + struct.pack("<IQ", kind, end))
        end += -(-math.prod(shape) // block * size // 32) * 32
    metadata = text("general.architecture") + struct.pack("<I", 8) + text(architecture)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), 1) + metadata + b"".join(infos)
    path.write_bytes(head)
    os.truncate(path, -(-len(head) // 32) * 32 + end)


def written(folder: Path, name: str, recipe: dict[str, Any]) -> tuple[Path, dict[str, Entry]]:
    """A file with this structure and recipe, and its tensors."""
    tensors, content = stored(structure(name), recipe)
    if "gguf" in recipe:
        path = folder / "model.gguf"
        write_gguf(path, "t5encoder" if name.endswith("llama") else "wan", tensors)
    else:
        path = folder / "model.safetensors"
        write_safetensors(path, tensors, content)
    return path, tensors


@cache
def _module(kind: str, config: Any) -> nn.Module:
    with torch.device("meta"):
        return MODULES[kind](config)


def assert_matched(spec: ModelSpec, tensors: dict[str, Entry]) -> None:
    """Every tensor of the model has its place in the file, in the right shape, and none of the file is left over."""
    needed, used = _module(spec.kind.name, spec.config).state_dict(), set(spec.extras)
    assert spec.sources.keys() == needed.keys()
    for key, place in needed.items():
        source = spec.sources[key]
        parts = [tensors[name][1] for name in source.keys]
        found = (sum(part[0] for part in parts), *parts[0][1:]) if len(parts) > 1 else parts[0]
        found = found[::-1] if source.transposed else found
        assert [size for size in found if size != 1] == [size for size in place.shape if size != 1], key
        used.update(source.keys)
    assert used == tensors.keys()


def _published() -> list[Any]:
    return list(_cases())


def _cases() -> Iterator[Any]:
    for repository, file, name, recipe, *more in _table("published"):
        expected = MODELS[name] | {"tensors": None} | (more[0] if more else {})
        yield pytest.param(name, RECIPES[recipe], expected, id=f"{repository}/{file}")


@pytest.mark.parametrize(("name", "recipe", "expected"), _published())
def test_a_published_file_is_recognised_and_matched(tmp_path: Path, name: str, recipe: dict, expected: dict) -> None:
    path, tensors = written(tmp_path, name, recipe)
    assert expected["tensors"] in (None, len(tensors))
    checkpoint = open_checkpoint(path)
    assert {key: info.shape for key, info in checkpoint.tensors.items()} == {key: tensors[key][1] for key in tensors}
    if "refused" in expected:
        with pytest.raises(CheckpointError) as error:
            inspect_checkpoint(checkpoint)
        assert expected["refused"] in str(error.value)
        assert "\n" not in str(error.value)
        return
    spec = inspect_checkpoint(checkpoint)
    found = {"kind": spec.kind.name, "preset": spec.preset, "naming": spec.naming, "family": spec.family.name}
    assert found == {key: expected[key] for key in found}
    assert expected["title"] in spec.title
    assert all(word in spec.weight_format.name.lower() for word in recipe["format"]), spec.weight_format.name
    assert spec.file_dtype == recipe.get("matrices", recipe["others"])
    if spec.kind.name == "dit":
        assert (spec.start_image, spec.takes_clip) == (expected["start_image"], expected["takes_clip"])
    assert_matched(spec, tensors)
    assert spec.title in describe(spec, checkpoint)


# Names: those that users' logs quote (diff_m, k_img.lora_up, diff_b, norm_k_img.diff: kijai/ComfyUI-WanVideoWrapper
# #807, #940, #1862), completed to all layers. 1.23 GB, the size of the 2.2 ones, is rank 64 in 32 bits for 40 blocks.
LORAS = [
    ("Kijai/WanVideo_comfy/lightx2v_I2V_14B_480p_cfg_step_distill_rank64_bf16", "lora-lightx2v-i2v-14B", "i2v-14B", 0),
    ("the same on Wan 2.2, which has no image branch", "lora-lightx2v-i2v-14B", "i2v-a14B", 40 * 7 + 10),
    ("Kijai/WanVideo_comfy/lightx2v_T2V_14B_cfg_step_distill_v2_lora_rank64", "lora-lightx2v-t2v-14B", "t2v-14B", 0),
    ("Comfy-Org/wan2.2_i2v_lightx2v_4steps_lora_v1_high_noise", "lora-lightx2v-a14B", "i2v-a14B", 0),
    ("Comfy-Org/wan2.2_t2v_lightx2v_4steps_lora_v1.1_low_noise", "lora-lightx2v-a14B", "t2v-14B", 0),
]  # fmt: skip


@pytest.mark.parametrize(("name", "model", "ignored"), [row[1:] for row in LORAS], ids=[row[0] for row in LORAS])
def test_a_published_lora_is_matched(tmp_path: Path, name: str, model: str, ignored: int) -> None:
    spec = inspect_checkpoint(open_checkpoint(written(tmp_path, model, RECIPES["BF16"])[0]))
    path = tmp_path / "lora.safetensors"
    # With the rank cut from 64 to 2 to keep the test small: every number of it is read.
    shapes = {key: tuple(2 if size == 64 and "lora_" in key else size for size in shape)
              for key, shape in structure(name).items()}  # fmt: skip
    shapes |= {key: (64, 2) for key in shapes if key.endswith("head.head.lora_up.weight")}
    write_safetensors(path, *stored(shapes, RECIPES["BF16"]))
    report = read_lora(path, ParameterShapes.of(_module("dit", spec.config)), spec).report
    assert report.unmatched == ()
    assert sum(report.ignored.values()) == ignored
    assert report.matched == len(shapes) - ignored


@pytest.mark.parametrize("name", [name for name in FINGERPRINTS if name != "source"])
def test_a_structure_has_the_fingerprint_of_the_published_file(name: str) -> None:
    pieces = []
    for tensor, shape in structure(name).items():
        pieces += [tensor, f"{tensor}:{'_'.join(map(str, shape))}"]
    assert hashlib.md5(",".join(sorted(pieces)).encode()).hexdigest() == FINGERPRINTS[name]


def test_the_structures_are_what_the_script_makes() -> None:
    for name, shapes in SCRIPT["STRUCTURES"].items():
        assert structure(name) == shapes


def test_there_are_enough_published_files() -> None:
    files = {(repository, file) for repository, file, *_ in _table("published")}
    assert len(files) == len(_table("published")) >= 24
