"""Every weight format of a transformer: does it load, as what, and how far are results from plain arithmetic.

`python -m wan_director.benchmarks.format_matrix` prints the table of docs/formats.md. A small transformer of random
weights is written in each format and loaded with computation in fp32. Its result is compared with that of a plain
module whose weights were made from the same file by other means: multiplication by the scale, or the gguf package. A
layer with a LoRA is compared with the same layer after adding the LoRA to those weights, at few and at many tokens.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import linear
from wan_director.common.log import logger
from wan_director.dit.adapters import AppliedAdapter, ParameterShapes, adapted
from wan_director.dit.config import DiTConfig
from wan_director.dit.inputs import DitInputs
from wan_director.dit.model import WanDiT
from wan_director.model_loading.build import load
from wan_director.model_loading.kinds import DIT
from wan_director.model_loading.lora.load import read_lora

from . import packed_matrices
from .packed_matrices import GROUP, Packed, rotation

WIDTH, RANK = 256, 8
TOKENS = (1, 512, 20_000)
LAYER = "blocks.0.ffn.0"
CONFIG = DiTConfig(dim=WIDTH, ffn_dim=2 * WIDTH, heads=2, layers=1, text_dim=WIDTH, freq_dim=WIDTH)
METADATA = {"wan_director.family": "tiny", "wan_director.heads": "2"}
GGUF_TYPES = (
    "F16",
    "BF16",
    "Q8_0",
    "Q6_K",
    "Q5_K",
    "Q5_1",
    "Q5_0",
    "Q4_K",
    "Q4_1",
    "Q4_0",
    "IQ4_XS",
    "IQ4_NL",
    "Q3_K",
    "Q2_K",
)
# Where the 16-bit scales of a block lie, for types that the gguf package reads but does not write.
_SCALES_AT = {
    "Q2_K": (80, 82),
    "Q3_K": (108,),
    "Q4_K": (0, 2),
    "Q5_K": (0, 2),
    "Q6_K": (208,),
    "IQ4_XS": (0,),
    "IQ4_NL": (0,),
}

Weights = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Form:
    """One way to write the transformer. `write(path, weights)` gives the numbers that are in the file then."""

    name: str
    ending: str
    write: Callable[[Path, Weights], Weights]
    precision: str = "fp32"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. Errors are the largest difference divided by the largest true value."""

    name: str
    detected: str
    parity_error: float
    lora_errors: tuple[float, ...]


def random_weights() -> Weights:
    """A transformer of random numbers, sized so that results stay near 1."""
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in WanDiT(CONFIG).state_dict().items()}
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for name, shape in shapes.items():
        numbers = torch.randn(shape, generator=generator)
        is_norm = "norm" in name and name.endswith(".weight")
        weights[name] = 1 + numbers / 10 if is_norm else numbers / max(shape[1:].numel(), 4) ** 0.5
    return weights


def is_matrix(name: str, weight: Tensor) -> bool:
    """Whether quantised files quantise it."""
    return weight.ndim == 2 and name.endswith(".weight")


def plain(dtype: torch.dtype) -> Callable[[Path, Weights], Weights]:
    """All tensors in one number format."""

    def write(path: Path, weights: Weights) -> Weights:
        save_file({name: weight.to(dtype) for name, weight in weights.items()}, path, METADATA)
        return {name: weight.to(dtype).float() for name, weight in weights.items()}

    return write


def eight_bit(
    dtype: torch.dtype,
    suffix: str,
    *,
    per_row: bool = False,
    marker: Mapping[str, Tensor] | None = None,
    quant: Mapping[str, object] | None = None,
    rotated: bool = False,
) -> Callable[[Path, Weights], Weights]:
    """Matrices in 8 bits times a scale, the rest in fp32.

    Args:
        suffix: what the scales are called; "" for no scales.
        per_row: a scale for each row, instead of one.
        marker: tensors that mark the file.
        quant: ComfyUI's description of a layer.
        rotated: matrices are mixed in groups before rounding.
    """

    def write(path: Path, weights: Weights) -> Weights:
        stored, true = dict(marker or {}), {}
        for name, weight in weights.items():
            if not is_matrix(name, weight):
                stored[name] = true[name] = weight
                continue
            stem = name.removesuffix(".weight")
            mixed = (weight.unflatten(1, (-1, GROUP)) @ rotation()).flatten(1) if rotated else weight
            codes, scale = _rounded(mixed, dtype, per_row, bool(suffix))
            numbers = codes.float() * scale
            true[name] = (numbers.unflatten(1, (-1, GROUP)) @ rotation().T).flatten(1) if rotated else numbers
            stored[name] = codes
            if suffix:
                stored[stem + suffix] = scale if per_row else scale.reshape(())
            if suffix == ".scale_weight":
                stored[stem + ".scale_input"] = torch.tensor(0.5)
            if quant:
                stored[stem + ".comfy_quant"] = torch.tensor(list(json.dumps(quant).encode()), dtype=torch.uint8)
        save_file(stored, path, METADATA)
        return true

    return write


def _rounded(weight: Tensor, dtype: torch.dtype, per_row: bool, scaled: bool) -> tuple[Tensor, Tensor]:
    """Codes, and a scale [rows, 1] or [1, 1]."""
    largest = 127.0 if dtype == torch.int8 else torch.finfo(dtype).max
    extreme = weight.abs().amax(1, keepdim=True) if per_row else weight.abs().amax().reshape(1, 1)
    scale = extreme / largest if scaled else torch.ones(1, 1)
    codes = (weight / scale).clamp(-largest, largest)
    return (codes.round() if dtype == torch.int8 else codes).to(dtype), scale


def packed(make: Callable[[Tensor], Packed]) -> Callable[[Path, Weights], Weights]:
    """Matrices as ComfyUI's newer formats have them, the rest in fp32; see `packed_matrices`."""

    def write(path: Path, weights: Weights) -> Weights:
        stored, true = {}, {}
        for name, weight in weights.items():
            if not is_matrix(name, weight):
                stored[name] = true[name] = weight
                continue
            said, ends, true[name] = make(weight)
            stem = name.removesuffix(".weight")
            stored |= {(stem if end[:1] == "." else name) + end: part.contiguous() for end, part in ends.items()}
            stored[stem + ".comfy_quant"] = torch.tensor(list(json.dumps(said).encode()), dtype=torch.uint8)
        save_file(stored, path, METADATA)
        return true

    return write


def header_description(path: Path, weights: Weights) -> Weights:
    """fp8 with the descriptions of all layers in the header."""
    stored, true = {}, {}
    names = [name.removesuffix(".weight") for name, weight in weights.items() if is_matrix(name, weight)]
    for name, weight in weights.items():
        stored[name] = true[name] = weight
        if is_matrix(name, weight):
            codes, scale = _rounded(weight, torch.float8_e4m3fn, False, True)
            stored |= {name: codes, name.removesuffix(".weight") + ".weight_scale": scale.reshape(())}
            true[name] = codes.float() * scale
    layers = {name: {"format": "float8_e4m3fn"} for name in names}
    text = json.dumps({"format_version": "1.0", "layers": layers})
    save_file(stored, path, METADATA | {"_quantization_metadata": text})
    return true


def gguf_of(kind: str) -> Callable[[Path, Weights], Weights]:
    """A GGUF file with its matrices in one type of block."""

    def write(path: Path, weights: Weights) -> Weights:
        block, writer, true = gguf.GGMLQuantizationType[kind], gguf.GGUFWriter(path, "wan"), {}
        for name, value in METADATA.items():
            writer.add_string(name, value)
        for name, weight in weights.items():
            if not is_matrix(name, weight):
                true[name] = weight
                writer.add_tensor(name, weight.numpy())
                continue
            data = _random_blocks(kind, weight) if kind in _SCALES_AT else gguf.quants.quantize(weight.numpy(), block)
            true[name] = torch.from_numpy(gguf.quants.dequantize(data, block).astype(np.float32).reshape(weight.shape))
            writer.add_tensor(name, data, raw_dtype=block)
        for write_part in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file):
            write_part()
        writer.close()
        return true

    return write


def _random_blocks(kind: str, weight: Tensor) -> np.ndarray:
    """Blocks of random bits with small scales: any bits are numbers."""
    count, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]]
    rows, columns = weight.shape
    data = np.random.default_rng(weight.numel()).integers(0, 256, (rows, columns // count, size), dtype=np.uint8)
    for place in _SCALES_AT[kind]:
        data[..., place : place + 2] = np.frombuffer(np.float16(2e-5).tobytes(), dtype=np.uint8)
    return data.reshape(rows, -1)


E4M3, E5M2, I8 = torch.float8_e4m3fn, torch.float8_e5m2, torch.int8
OLD_MARKER = {"scaled_fp8": torch.empty(0, dtype=E4M3)}
CONVROT = {"format": "int8_tensorwise", "convrot": True, "convrot_groupsize": GROUP}
FORMS = (
    Form("fp32", "safetensors", plain(torch.float32)),
    Form("bf16", "safetensors", plain(torch.bfloat16)),
    Form("fp16", "safetensors", plain(torch.float16)),
    Form("fp8 e4m3, no scales", "safetensors", eight_bit(E4M3, "")),
    Form("fp8 e5m2, no scales", "safetensors", eight_bit(E5M2, "")),
    Form("fp8 e4m3 `scale_weight` (ComfyUI)", "safetensors", eight_bit(E4M3, ".scale_weight", marker=OLD_MARKER)),
    Form("fp8 e5m2 `scale_weight` (KJ)", "safetensors", eight_bit(E5M2, ".scale_weight")),
    Form("fp8 e4m3 `weight_scale` per row (LightX2V)", "safetensors", eight_bit(E4M3, ".weight_scale", per_row=True)),
    Form(
        "fp8 e4m3 `comfy_quant` (ComfyUI, new)",
        "safetensors",
        eight_bit(E4M3, ".weight_scale", quant={"format": "float8_e4m3fn"}),
    ),
    Form("fp8 e4m3 `_quantization_metadata` (header)", "safetensors", header_description),
    Form("int8 `weight_scale` per row (LightX2V)", "safetensors", eight_bit(I8, ".weight_scale", per_row=True)),
    Form("int8 `comfy_quant`", "safetensors", eight_bit(I8, ".weight_scale", quant={"format": "int8_tensorwise"})),
    Form(
        "int8 convrot `comfy_quant`",
        "safetensors",
        eight_bit(I8, ".weight_scale", per_row=True, quant=CONVROT, rotated=True),
    ),
    Form("convrot_w4a4 `comfy_quant`", "safetensors", packed(packed_matrices.convrot_w4a4)),
    Form("asym_w4a8_int8 `comfy_quant`", "safetensors", packed(packed_matrices.asym_w4a8)),
    Form("asym_w4a8_int8 of 6 bits `comfy_quant`", "safetensors", packed(packed_matrices.asym_w6a8)),
    Form("awq_w4a16 `comfy_quant`", "safetensors", packed(packed_matrices.awq_w4a16)),
    Form("nvfp4 `comfy_quant`", "safetensors", packed(packed_matrices.nvfp4)),
    Form("nvfp4 with `pre_quant_scale`", "safetensors", packed(packed_matrices.nvfp4_for_scaled_inputs)),
    Form("mxfp8 `comfy_quant`", "safetensors", packed(packed_matrices.mxfp8)),
    *(Form(f"GGUF {kind}", "gguf", gguf_of(kind)) for kind in GGUF_TYPES),
)


def measure(form: Form, folder: Path) -> Row:
    """One line of the table."""
    path = folder / f"model.{form.ending}"
    numbers = form.write(path, random_weights())
    loaded = load(DIT, path, precision=form.precision, device="cpu")
    with torch.device("meta"):
        true = WanDiT(CONFIG)
    true.load_state_dict(numbers, assign=True)
    generator = torch.Generator().manual_seed(1)
    latent, text = (torch.randn(shape, generator=generator) for shape in ((1, 16, 2, 4, 4), (1, 16, WIDTH)))
    inputs = DitInputs(latent, torch.tensor([500.0]), text)
    with torch.inference_mode():
        parity = error(loaded.module(inputs), true.eval()(inputs))
        lora = lora_errors(loaded, numbers, folder)
    detected = f"{loaded.spec.weight_format.name} ({loaded.spec.file_dtype})"
    return Row(form.name, detected, parity, lora)


def lora_errors(loaded, numbers: Weights, folder: Path) -> tuple[float, ...]:
    """Of one layer with a LoRA beside it, against the layer with the LoRA added to its weight, for `TOKENS`."""
    generator = torch.Generator().manual_seed(2)
    weight, bias = numbers[f"{LAYER}.weight"], numbers[f"{LAYER}.bias"]
    down = torch.randn(RANK, weight.shape[1], generator=generator) / 16
    up = torch.randn(weight.shape[0], RANK, generator=generator) / 16
    path = folder / "lora.safetensors"
    stem = f"diffusion_model.{LAYER}"
    alpha = {f"{stem}.alpha": torch.tensor(RANK / 2)}
    save_file({f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up} | alpha, path)
    adapter = read_lora(path, ParameterShapes.of(loaded.module), loaded.spec).adapter
    merged, errors = weight + 0.7 * 0.5 * up @ down, []
    with adapted(loaded.module, [AppliedAdapter(adapter, strength=0.7)]):
        layer = loaded.module.get_submodule(LAYER)
        for count in TOKENS:
            x = torch.randn(1, count, weight.shape[1], generator=generator)
            errors.append(error(layer(x), linear(x, merged, bias)))
    return tuple(errors)


def error(found: Tensor, true: Tensor) -> float:
    """The largest difference, as a part of the largest true value."""
    return ((found - true).abs().max() / true.abs().max()).item()


def to_markdown(rows: list[Row]) -> str:
    """The table."""
    lora = " | ".join(f"LoRA error, {count:,} token{'s' if count > 1 else ''}" for count in TOKENS)
    lines = [f"| Format | Detected as | Result error | {lora} |", "|---|---|" + "---:|" * (1 + len(TOKENS))]
    for row in rows:
        errors = " | ".join(f"{value:.0e}" if value else "0" for value in (row.parity_error, *row.lora_errors))
        lines.append(f"| {row.name} | {row.detected} | {errors} |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; gives its exit code."""
    argparse.ArgumentParser(prog="python -m wan_director.benchmarks.format_matrix").parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logger.setLevel(logging.WARNING)
    rows = []
    for form in FORMS:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(measure(form, Path(folder)))
    print(to_markdown(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
