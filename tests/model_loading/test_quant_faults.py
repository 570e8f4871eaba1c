"""Quantised files that cannot be loaded exactly are refused in one sentence, never loaded wrongly."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from wan_director.common.errors import CheckpointError
from wan_director.dit.config import DiTConfig
from wan_director.dit.model import WanDiT
from wan_director.model_loading import kinds
from wan_director.model_loading.build import load
from wan_director.model_loading.formats.fp8 import PLAIN_FP8
from wan_director.model_loading.opening import open_checkpoint
from wan_director.model_loading.recognition.detect import inspect_checkpoint

from .conftest import random_weights

DIT = DiTConfig(dim=64, ffn_dim=128, heads=4, layers=1, text_dim=64, freq_dim=64)
TINY = {"wan_director.family": "tiny", "wan_director.heads": "4"}
KEY = "blocks.0.ffn.0.weight"
LAYER = "blocks.0.ffn.0"

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def weights() -> State:
    with torch.device("meta"):
        module = WanDiT(DIT)
    return random_weights(module)


def scaled(weights: State) -> State:
    state = {**weights, "scaled_fp8": torch.empty(0)}
    for key in [key for key in weights if key.startswith("blocks.") and weights[key].ndim == 2]:
        scale = weights[key].abs().amax() / 448
        state |= {key: (weights[key] / scale).to(torch.float8_e4m3fn), key[:-6] + "scale_weight": scale}
    return state


def comfy(weights: State, config: dict, codes: Tensor, **more: Tensor) -> State:
    marker = torch.frombuffer(bytearray(json.dumps(config).encode()), dtype=torch.uint8)
    return {**weights, KEY: codes, LAYER + ".comfy_quant": marker, **{f"{LAYER}.{k}": v for k, v in more.items()}}


def int8_codes(weights: State) -> Tensor:
    return (weights[KEY] * 100).round().to(torch.int8)


def with_nan_code(weights: State) -> State:
    state = scaled(weights)
    state[KEY].view(torch.uint8)[3, 4] = 0xFF
    return state


def without(state: State, *ends: str) -> State:
    return {key: value for key, value in state.items() if not key.endswith(ends)}


FAULTS: dict[str, tuple[Callable[[State], State], str]] = {
    "one scale missing": (
        lambda w: without(scaled(w), LAYER + ".scale_weight"),
        r"the weight 'blocks.0.ffn.0.weight' is scaled, but neither 'blocks.0.ffn.0.scale_weight' nor "
        r"'blocks.0.ffn.0.weight_scale' is in the file",
    ),
    "all scales missing": (
        lambda w: without(scaled(w), ".scale_weight", "scaled_fp8"),
        r"is scaled, but neither .* is in the file",
    ),
    "scale of another size": (
        lambda w: {**scaled(w), LAYER + ".scale_weight": torch.ones(3)},
        r"the scale 'blocks.0.ffn.0.scale_weight' has the shape \[3\], but 'blocks.0.ffn.0.weight' needs one number or "
        r"128, one per row",
    ),
    "scale per column": (
        lambda w: {**scaled(w), LAYER + ".scale_weight": torch.ones(1, 64)},
        r"has the shape \[1, 64\], but .* needs one number or 128",
    ),
    "scale NaN": (
        lambda w: {**scaled(w), LAYER + ".scale_weight": torch.tensor(float("nan"))},
        r"the scale 'blocks.0.ffn.0.scale_weight' is no number \(NaN or infinite\)",
    ),
    "one row's scale infinite": (
        lambda w: {**scaled(w), LAYER + ".scale_weight": torch.tensor([[1.0]] * 127 + [[float("inf")]])},
        r"is no number \(NaN or infinite\)",
    ),
    "NaN code": (with_nan_code, r"'blocks.0.ffn.0.weight' holds values that are no numbers"),
    "int8 without scale": (
        lambda w: comfy(w, {"format": "int8_tensorwise"}, int8_codes(w)),
        r"is scaled, but neither .* is in the file",
    ),
    "int8 marker on floats": (
        lambda w: comfy(w, {"format": "int8_tensorwise"}, w[KEY], weight_scale=torch.tensor(1.0)),
        r"'blocks.0.ffn.0.weight' should be an int8 matrix, but is F32 \[128, 64\]",
    ),
    "rotation in groups that do not fit": (
        lambda w: comfy(
            w, {"format": "int8_tensorwise", "convrot": True}, int8_codes(w), weight_scale=torch.tensor(1.0)
        ),
        r"rotated in groups of 256, which must be a power of 4 that divides its 64 columns",
    ),
    "rotation in groups of 32": (
        lambda w: comfy(
            w, {"format": "int8_tensorwise", "convrot": True, "convrot_groupsize": 32}, int8_codes(w),
            weight_scale=torch.tensor(1.0),
        ),
        r"rotated in groups of 32, which must be a power of 4",
    ),
    "group size that is no number": (
        lambda w: comfy(
            w, {"format": "int8_tensorwise", "convrot": True, "convrot_groupsize": [4]}, int8_codes(w),
            weight_scale=torch.tensor(1.0),
        ),
        r"has the group size '\[4\]', which this version cannot read",
    ),
    "unknown format": (
        lambda w: comfy(w, {"format": "svdquant_w4a4"}, int8_codes(w), weight_scale=torch.tensor(1.0)),
        r"has the format 'svdquant_w4a4', which this version cannot read; it reads float8_e4m3fn, float8_e5m2",
    ),
    "marker that is no JSON": (
        lambda w: {**w, LAYER + ".comfy_quant": torch.tensor([123, 255, 0], dtype=torch.uint8)},
        r"is damaged: 'blocks.0.ffn.0.comfy_quant', which tells how its layers are stored, is not readable",
    ),
    "marker of another kind": (
        lambda w: comfy(w, [1, 2], int8_codes(w)),
        r"is damaged: 'blocks.0.ffn.0.comfy_quant'",
    ),
    "quantised layer without a word": (
        lambda w: {**comfy(w, {"format": "int8_tensorwise"}, w[KEY]), "blocks.0.ffn.2.weight": w[KEY].T.to(torch.int8)},
        r"is quantised, but neither a '.comfy_quant' tensor nor the header says how|should be an int8 matrix",
    ),
    "nvfp4 with too few scales": (
        lambda w: comfy(
            w, {"format": "nvfp4"}, torch.zeros(128, 32, dtype=torch.uint8),
            weight_scale=torch.ones(128, 3).to(torch.float8_e4m3fn), weight_scale_2=torch.tensor(1.0),
        ),
        r"'blocks.0.ffn.0.weight_scale' should be 128 x 4 bytes, but is \[128, 3\]",
    ),
    "nvfp4 without its second scale": (
        lambda w: comfy(
            w, {"format": "nvfp4"}, torch.zeros(128, 32, dtype=torch.uint8),
            weight_scale=torch.ones(128, 4).to(torch.float8_e4m3fn),
        ),
        r"is scaled, but",
    ),
    "mxfp8 in floats": (
        lambda w: comfy(w, {"format": "mxfp8"}, w[KEY], weight_scale=torch.zeros(128, 4, dtype=torch.uint8)),
        r"'blocks.0.ffn.0.weight' should be a matrix of bytes, but is float32 \[128, 64\]",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_faulty_file_is_refused_in_a_sentence(tmp_path: Path, weights: State, name: str) -> None:
    make, sentence = FAULTS[name]
    path = tmp_path / "model.safetensors"
    save_file({key: value.contiguous() for key, value in make(weights).items()}, path, metadata=TINY)
    with pytest.raises(CheckpointError, match=sentence) as caught:
        load(kinds.DIT, path, device="cpu")
    assert str(caught.value).startswith("model.safetensors")
    assert str(caught.value).count("\n") == 0


@pytest.mark.parametrize("text", ["", "{", "[]", '{"layers": 3}', '{"layers": {"x": 5}}', "[" * 100_000])
def test_unreadable_header_metadata_is_refused(tmp_path: Path, weights: State, text: str) -> None:
    path = tmp_path / "model.safetensors"
    save_file(scaled(weights), path, metadata={**TINY, "_quantization_metadata": text})
    with pytest.raises(CheckpointError, match="is damaged: '_quantization_metadata'"):
        load(kinds.DIT, path, device="cpu")


@pytest.mark.parametrize(
    ("name", "extra"),
    [
        ("GPTQ or AWQ", {LAYER + ".qweight": torch.zeros(8, 8, dtype=torch.int32)}),
        ("bitsandbytes", {LAYER + ".weight.absmax": torch.zeros(8), KEY: torch.zeros(4096, 1, dtype=torch.uint8)}),
        ("quanto int8", {LAYER + ".weight._data": torch.zeros(128, 64, dtype=torch.int8)}),
        ("nvfp4 of LightX2V", {LAYER + ".weight_global_scale": torch.ones(1)}),
        ("an unknown number format", {"strange": torch.zeros(3, dtype=torch.int32)}),
    ],
)
def test_formats_not_supported_are_named(tmp_path: Path, weights: State, name: str, extra: State) -> None:
    path = tmp_path / "model.safetensors"
    save_file({**weights, **extra}, path, metadata=TINY)
    with pytest.raises(CheckpointError, match=f"stored as {name}.*, which is not supported"):
        inspect_checkpoint(open_checkpoint(path))


def test_a_16_bit_matrix_with_a_scale_is_multiplied_by_it(tmp_path: Path, weights: State) -> None:
    path = tmp_path / "model.safetensors"
    save_file({**scaled(weights), KEY: weights[KEY], LAYER + ".scale_weight": torch.tensor(2.0)}, path, metadata=TINY)
    module = load(kinds.DIT, path, precision="fp32", device="cpu").module
    assert torch.equal(module.blocks[0].ffn[0].weight, weights[KEY] * 2)


@pytest.mark.parametrize("key", ["shared.weight", "token_embedding.weight", "encoder.embed_tokens.weight"])
def test_large_numbers_in_an_embedding_are_no_lost_scale(tmp_path: Path, key: str) -> None:
    """Those of T5's kin may be large; a matrix with such numbers would have lost its scale."""
    codes = torch.full((4, 8), 200.0).to(torch.float8_e4m3fn)
    save_file({key: codes, "blocks.0.ffn.fc1.weight": codes.clone()}, tmp_path / "model.safetensors")
    checkpoint = open_checkpoint(tmp_path / "model.safetensors")
    assert torch.equal(PLAIN_FP8.read(checkpoint, key).dense(), codes.float())
    with pytest.raises(CheckpointError, match="'blocks.0.ffn.fc1.weight' is scaled, but neither"):
        PLAIN_FP8.read(checkpoint, "blocks.0.ffn.fc1.weight")
