"""Files as quantisation libraries write them: read exactly where they are codes times scales, else named.

Layouts: those that optimum-quanto 0.2.7, torchao 0.18 (through diffusers 0.42.1), sdnq 0.2.8 and convert-to-quant 1.3.4
wrote for a one-block transformer; read there, the numbers were those that the library itself computes, to the bit.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from wan_director.common.errors import CheckpointError
from wan_director.dit.model import WanDiT
from wan_director.model_loading import kinds
from wan_director.model_loading.build import load
from wan_director.model_loading.opening import open_checkpoint
from wan_director.model_loading.recognition.detect import inspect_checkpoint
from wan_director.weights.layers import Linear

from .conftest import random_weights
from .test_quant_formats import (
    DIT,
    E4M3,
    State,
    assert_computes,
    comfy_marker,
    in_blocks,
    layer,
    matrices,
    save,
    to_fp8,
)

Layout = Callable[[Tensor, Tensor], tuple[dict[str, Tensor], Tensor]]
"""From codes and scales to the tensors of a layer by the ends of their names, and the numbers they stand for."""


@pytest.fixture(scope="module")
def weights() -> State:
    with torch.device("meta"):
        module = WanDiT(DIT)
    return random_weights(module)


def codes_of(weight: Tensor, dtype: torch.dtype, blocks: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """Codes [rows, columns], scales of blocks [a, b], and the numbers."""
    a, b = blocks
    tiles = weight.unflatten(1, (b, -1)).unflatten(0, (a, -1))  # [a, rows/a, b, columns/b]
    scale = tiles.abs().amax((1, 3), keepdim=True) / (127 if dtype == torch.int8 else 448)
    codes = (tiles / scale).round() if dtype == torch.int8 else tiles / scale
    codes = codes.to(dtype)
    numbers = (codes.float() * scale).flatten(2).flatten(0, 1)
    return codes.flatten(2).flatten(0, 1), scale.squeeze(3).squeeze(1), numbers


def quanto(weight: Tensor, dtype: torch.dtype) -> tuple[State, Tensor]:
    scale = (weight.abs().amax(1, keepdim=True) / 127).bfloat16()
    codes = (weight / scale).round().clamp(-127, 127).to(dtype)
    one = torch.ones((), dtype=torch.bfloat16)
    ends = {".weight._data": codes, ".weight._scale": scale, ".input_scale": one, ".output_scale": one.clone()}
    return ends, codes.float() * scale.float()


def torchao(weight: Tensor, dtype: torch.dtype) -> tuple[State, Tensor]:
    codes, scale, numbers = codes_of(weight, dtype, (len(weight), 1))
    ends = {"._weight_qdata": codes, "._weight_scale": scale}
    if dtype == torch.int8:
        ends["._weight_zero_point"] = torch.zeros(len(weight), 1, dtype=torch.int8)
    return ends, numbers


def sdnq(weight: Tensor, dtype: torch.dtype) -> tuple[State, Tensor]:
    """Wide matrices in groups of columns, as [rows, groups, columns]."""
    groups = 2 if weight.shape[1] > 128 else 1
    codes, scale, numbers = codes_of(weight, dtype, (len(weight), groups))
    if groups > 1:
        codes, scale = codes.unflatten(1, (groups, -1)), scale.unsqueeze(2)
    return {".weight": codes, ".scale": scale}, numbers


def marked(form: str, dtype: torch.dtype, columns: int = 0) -> Callable[[Tensor], tuple[State, Tensor]]:
    """convert-to-quant's: a marker beside codes whose scales belong to rows, tiles or groups of columns."""

    def make(weight: Tensor) -> tuple[State, Tensor]:
        rows = len(weight) // columns if form.endswith("blockwise") else len(weight)
        codes, scale, numbers = codes_of(weight, dtype, (rows, weight.shape[1] // columns if columns else 1))
        scale = scale.squeeze(1) if form.endswith("rowwise") else scale
        scale = scale.unsqueeze(2) if form.endswith("3d") else scale
        marker = comfy_marker({"format": form, "group_size": columns})
        return {".weight": codes, ".weight_scale": scale, ".comfy_quant": marker}, numbers

    return make


FILES: dict[str, tuple[str, Callable[[Tensor], tuple[State, Tensor]]]] = {
    "quanto int8": ("quanto", lambda w: quanto(w, torch.int8)),
    "quanto float8": ("quanto", lambda w: quanto(w, E4M3)),
    "torchao int8": ("torchao", lambda w: torchao(w, torch.int8)),
    "torchao float8": ("torchao", lambda w: torchao(w, E4M3)),
    "SDNQ int8": ("SDNQ", lambda w: sdnq(w, torch.int8)),
    "SDNQ float8": ("SDNQ", lambda w: sdnq(w, E4M3)),
    "fp8 rowwise": ("a format per layer", marked("float8_e4m3fn_rowwise", E4M3)),
    "fp8 blockwise": ("a format per layer", marked("float8_e4m3fn_blockwise", E4M3, 32)),
    "fp8 block3d": ("a format per layer", marked("float8_e4m3fn_block3d", E4M3, 32)),
    "int8 blockwise": ("a format per layer", marked("int8_blockwise", torch.int8, 32)),
}


def quantised(weights: State, keys: list[str], make: Callable[[Tensor], tuple[State, Tensor]]) -> tuple[State, State]:
    state = {key: value for key, value in weights.items() if key not in keys}
    exact = dict(weights)
    for key in keys:
        ends, exact[key] = make(weights[key])
        state |= {layer(key) + end: tensor.clone() for end, tensor in ends.items()}
    return state, exact


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_codes_and_scales_is_read_exactly(tmp_path: Path, weights: State, name: str) -> None:
    form, make = FILES[name]
    state, exact = quantised(weights, in_blocks(weights), make)
    loaded = load(kinds.DIT, save(tmp_path, state), precision="fp32", device="cpu")
    assert loaded.spec.weight_format.name == form
    for key, module in loaded.module.named_modules():
        if isinstance(module, Linear) and key.startswith("blocks."):
            assert module.codec is not None
            assert torch.equal(module.dense_weight(), exact[key + ".weight"])
    assert_computes(loaded.module, exact)


def test_a_whole_file_of_nvfp4_loads_as_its_true_size(tmp_path: Path, weights: State) -> None:
    kitchen = pytest.importorskip("comfy_kitchen")

    def make(weight: Tensor) -> tuple[State, Tensor]:
        scale = weight.abs().max() / (448 * 6)
        codes, blocks = kitchen.quantize_nvfp4(weight, scale)
        marker = comfy_marker({"format": "nvfp4", "group_size": 16})
        ends = {".weight": codes, ".weight_scale": blocks, ".weight_scale_2": scale, ".comfy_quant": marker}
        return ends, kitchen.dequantize_nvfp4(codes, scale, blocks, torch.float32)

    state, exact = quantised(weights, matrices(weights), make)
    loaded = load(kinds.DIT, save(tmp_path, state), precision="fp32", device="cpu")
    assert loaded.spec.config == DIT
    assert loaded.spec.parameters == sum(value.numel() for value in weights.values())
    assert_computes(loaded.module, exact)


def test_mxfp8_with_a_coarser_scale_beside_it_is_read_by_the_fine_ones(tmp_path: Path, weights: State) -> None:
    kitchen = pytest.importorskip("comfy_kitchen")

    def make(weight: Tensor) -> tuple[State, Tensor]:
        codes, blocks = kitchen.quantize_mxfp8(weight)
        ends = {".weight": codes, ".weight_scale": blocks.view(torch.uint8), ".weight_scalar": torch.tensor(0.01)}
        marker = comfy_marker({"format": "hybrid_mxfp8", "group_size": 32})
        return ends | {".comfy_quant": marker}, kitchen.dequantize_mxfp8(codes, blocks, torch.float32)

    state, exact = quantised(weights, in_blocks(weights), make)
    assert_computes(load(kinds.DIT, save(tmp_path, state), precision="fp32", device="cpu").module, exact)


@pytest.mark.parametrize("as_bytes", [True, False], ids=["U8", "F8_E8M0"])
def test_a_scale_of_mxfp8_that_is_no_number_is_named(tmp_path: Path, weights: State, as_bytes: bool) -> None:
    kitchen = pytest.importorskip("comfy_kitchen")
    key = in_blocks(weights)[2]
    codes, blocks = kitchen.quantize_mxfp8(weights[key])
    scales = blocks.view(torch.uint8).clone()
    scales.view(-1)[0] = 0xFF
    assert bool(torch.isfinite(scales.view(torch.float8_e8m0fnu)).all())  # so torch cannot be asked
    state = {**weights, key: codes, layer(key) + ".comfy_quant": comfy_marker({"format": "mxfp8"})}
    state[layer(key) + ".weight_scale"] = scales if as_bytes else scales.view(torch.float8_e8m0fnu)
    with pytest.raises(CheckpointError, match=rf"'{layer(key)}.weight_scale' should be finite numbers, but is NaN"):
        load(kinds.DIT, save(tmp_path, state), device="cpu")


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as error:
        load(kinds.DIT, path, device="cpu")
    assert "\n" not in str(error.value)
    return str(error.value)


def test_numbers_around_another_point_than_zero_are_refused(tmp_path: Path, weights: State) -> None:
    state, _ = quantised(weights, in_blocks(weights), FILES["torchao int8"][1])
    state["blocks.0.ffn.0._weight_zero_point"][0] = 3
    assert "'blocks.0.ffn.0.weight' are not symmetric around zero" in refusal(save(tmp_path, state))


@pytest.mark.parametrize("shape", [(192, 3), (5, 1), (1, 0)])
def test_scales_that_divide_no_blocks_are_refused(tmp_path: Path, weights: State, shape: tuple[int, int]) -> None:
    state, _ = quantised(weights, in_blocks(weights), FILES["fp8 blockwise"][1])
    state["blocks.0.ffn.0.weight_scale"] = torch.ones(shape)
    assert "does not divide 'blocks.0.ffn.0.weight' of [192, 128] into equal blocks" in refusal(save(tmp_path, state))


def test_scales_of_blocks_must_be_numbers(tmp_path: Path, weights: State) -> None:
    state, _ = quantised(weights, in_blocks(weights), FILES["SDNQ int8"][1])
    state["blocks.0.ffn.2.scale"][3, 1] = float("nan")
    assert "the scale 'blocks.0.ffn.2.weight_scale' is no number" in refusal(save(tmp_path, state))


def test_a_rotation_of_sdnq_is_told_by_its_settings_alone(tmp_path: Path, weights: State) -> None:
    state, _ = quantised(weights, in_blocks(weights), FILES["SDNQ int8"][1])
    path, settings = save(tmp_path, state), tmp_path / "config.json"
    (note,) = inspect_checkpoint(open_checkpoint(path)).notes
    assert note.startswith("SDNQ's settings (config.json) do not lie beside it: its numbers are taken as not rotated")
    settings.write_text(json.dumps({"quantization_config": {"quant_method": "sdnq", "use_hadamard": False}}))
    assert inspect_checkpoint(open_checkpoint(path)).notes == ()
    settings.write_text(json.dumps({"quantization_config": {"quant_method": "sdnq", "use_hadamard": True}}))
    assert "was rotated by SDNQ before it was rounded" in refusal(path)


def _bytes(*shape: int) -> Tensor:
    return torch.zeros(shape, dtype=torch.uint8)


PACKED: dict[str, tuple[str, Callable[[Tensor], State]]] = {
    "quanto int4": (
        "quanto int4 or int2",
        lambda w: {".weight._data._data": _bytes(8, 8), ".weight._scale": w[:4, :1], ".weight._shift": w[:4, :1]},
    ),
    "GPTQ": (
        "GPTQ or AWQ (4 bit)",
        lambda w: {".qweight": torch.zeros(8, 8, dtype=torch.int32), ".qzeros": torch.zeros(2, 2, dtype=torch.int32),
                   ".scales": w[:1].half()},
    ),
    "SVDQuant": (
        "SVDQuant (4 bit, nunchaku)",
        lambda w: {".qweight": torch.zeros(8, 8, dtype=torch.int8), ".wscales": w[:1].half(),
                   ".smooth_factor": w[0].half(), ".proj_down": w[:2].half(), ".proj_up": w[:, :2].half()},
    ),
    "bitsandbytes": (
        "bitsandbytes (4 or 8 bit)",
        lambda w: {".weight": _bytes(w.numel() // 2, 1), ".weight.absmax": _bytes(9), ".weight.quant_map": w[0, :16],
                   ".weight.quant_state.bitsandbytes__nf4": _bytes(80)},
    ),
    "torchao int4": ("torchao (int4", lambda w: {"._weight_qdata": _bytes(8, 8), "._weight_scale": w[:, :1]}),
    "SDNQ uint4": (
        "SDNQ with low-rank parts or zero points",
        lambda w: {".weight": _bytes(w.numel() // 2), ".scale": w[:, :1], ".zero_point": w[:, :1]},
    ),
    "SDNQ int4": ("SDNQ (2 to 8 bit)", lambda w: {".weight": _bytes(w.numel() // 2), ".scale": w[:, :1]}),
    "SDNQ with SVD": (
        "SDNQ with low-rank parts",
        lambda w: {".weight": w.to(torch.int8), ".scale": w[:, :1], ".svd_up": w[:, :2], ".svd_down": w[:2]},
    ),
    "ModelOpt": (
        "nvfp4 of ModelOpt (4 bit)",
        lambda w: {".weight": _bytes(len(w), w.shape[1] // 2), ".weight_scale": to_fp8(w, E4M3, True)[0][:, :8],
                   ".weight_scale_2": w[0, 0]},
    ),
    "HQQ": ("HQQ (1 to 8 bit)", lambda w: {".W_q": _bytes(8, 8), ".scale": w[:1], ".zero": w[:1]}),
    "compressed-tensors": (
        "compressed-tensors (4 or 8 bit, vLLM)",
        lambda w: {".weight_packed": torch.zeros(8, 8, dtype=torch.int32), ".weight_scale": w[:, :1]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("whole", [False, True], ids=["blocks", "every matrix"])
@pytest.mark.parametrize("name", PACKED)
def test_formats_that_cannot_be_read_are_named(tmp_path: Path, weights: State, name: str, whole: bool) -> None:
    """Real files have the packed tensors in place of their weights, not beside them."""
    form, make = PACKED[name]
    keys = matrices(weights) if whole else in_blocks(weights)
    state, _ = quantised(weights, keys, lambda weight: (make(weight), weight))
    message = refusal(save(tmp_path, state))
    assert f"stored as {form}" in message
    assert "which is not supported yet by this version. Use the bf16 or fp16 file of the same model" in message
    assert "diffusion model stored" in message or "of the tiny demo model stored" in message


def test_dfloat11_which_joins_the_matrices_of_a_block_is_named(tmp_path: Path, weights: State) -> None:
    state = {key: value for key, value in weights.items() if key not in in_blocks(weights)}
    state |= {f"blocks.{block}.{end}": _bytes(64) for block in (0, 1) for end in ("encoded_exponent", "sign_mantissa")}
    assert "is a Wan diffusion model stored as DFloat11 (compressed bf16)" in refusal(save(tmp_path, state))


def test_a_quantised_text_encoder_is_named_as_one(tmp_path: Path) -> None:
    stem = "encoder.block.0.layer.0.SelfAttention.q"
    state = {stem + ".qweight": torch.zeros(8, 8, dtype=torch.int32), "shared.weight": torch.zeros(4, 4)}
    assert "is a T5 or UMT5 text encoder stored as GPTQ or AWQ" in refusal(save(tmp_path, state))
