"""Casting to fp8 while loading: what is cast, how exactly, how much memory it takes, and multiplying in fp8."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import wan_director
from safetensors.torch import save_file
from torch import Tensor
from wan_director.common.errors import InvalidInputError
from wan_director.dit.branches.clip import ClipBranch, ClipInput
from wan_director.dit.config import DiTConfig
from wan_director.dit.execution import Execution
from wan_director.dit.inputs import DitInputs
from wan_director.dit.model import WanDiT
from wan_director.model_loading import kinds
from wan_director.model_loading.build import load
from wan_director.model_loading.describe import describe
from wan_director.model_loading.footprint import loaded_bytes
from wan_director.model_loading.opening import open_checkpoint
from wan_director.model_loading.precision import Precision
from wan_director.model_loading.recognition.detect import inspect_checkpoint
from wan_director.vae3d.config import VAEConfig
from wan_director.vae3d.vae import CausalVAE
from wan_director.weights import fp8_compute
from wan_director.weights.casting import CASTINGS, cast_matrix, is_cast
from wan_director.weights.fp8 import FP8, FP8_STORED
from wan_director.weights.int8 import INT8
from wan_director.weights.layers import Linear
from wan_director.weights.multiplication import allow_fp8, multiplication_of
from wan_director.weights.stored import StoredWeight

from .conftest import random_weights

DIT = DiTConfig(dim=96, ffn_dim=160, heads=4, layers=2, in_channels=36, text_dim=32, branches=(ClipBranch(48, 34),))
TINY = {"wan_director.family": "tiny", "wan_director.heads": "4"}
E4M3, E5M2 = torch.float8_e4m3fn, torch.float8_e5m2

# Rounding to fp8 errs by at most half a unit in the last place: 2**-4 (e4m3) or 2**-3 (e5m2) of a number.
ROUNDING = {"fp8_e4m3fn": 2**-4, "fp8_e5m2": 2**-3, "fp8_scaled": 2**-4, "fp8_scaled_tensor": 2**-4}


@pytest.fixture(scope="module")
def dit_file(tmp_path_factory) -> Path:
    with torch.device("meta"):
        module = WanDiT(DIT)
    path = tmp_path_factory.mktemp("casting") / "dit.safetensors"
    save_file({key: value.bfloat16() for key, value in random_weights(module).items()}, path, metadata=TINY)
    return path


def matrix(rows: int = 48, columns: int = 64, decades: int = 3) -> Tensor:
    """Rows of very different sizes."""
    generator = torch.Generator().manual_seed(1)
    sizes = torch.logspace(-decades, 0, rows).unsqueeze(1)
    return torch.randn(rows, columns, generator=generator) * sizes


def inputs(dtype: torch.dtype = torch.float32) -> DitInputs:
    generator = torch.Generator().manual_seed(2)
    draw = lambda *shape: torch.randn(*shape, generator=generator).to(dtype)  # noqa: E731
    return DitInputs(
        latent=draw(1, 16, 3, 8, 8), timestep=torch.tensor([700.0]), text=draw(1, 7, 32),
        image_channels=draw(1, 20, 3, 8, 8), steering=(ClipInput(draw(1, 34, 48)),),
    )  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_scaled_codes_are_the_quotients_rounded_once(dtype) -> None:
    weight = matrix().to(dtype)
    before = weight.clone()
    stored = cast_matrix(weight, CASTINGS["fp8_scaled"])
    scale = weight.float().abs().amax(1, keepdim=True) / 448
    assert torch.equal(stored.parts["scale"], scale)
    # The codes are made with the reciprocal of the scale, so a quotient between two codes may go to either.
    error = (stored.dense() - weight.float()).abs()
    assert bool((error <= weight.float().abs() * 2**-4 * 1.0001 + scale * 2**-10).all())
    assert (stored.parts["weight"].float() == (weight.float() / scale).to(E4M3).float()).float().mean() > 0.999
    assert torch.equal(weight, before)


@pytest.mark.parametrize("name", ["fp8_e4m3fn", "fp8_e5m2"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_plain_codes_are_the_numbers_rounded(name: str, dtype) -> None:
    stored = cast_matrix(matrix().to(dtype), CASTINGS[name])
    assert torch.equal(stored.parts["weight"].float(), matrix().to(dtype).to(CASTINGS[name].dtype).float())
    assert list(stored.parts) == ["weight"]


@pytest.mark.parametrize("name", ["fp8_e4m3fn", "fp8_e5m2"])
def test_plain_codes_beyond_the_range_become_its_end(name: str) -> None:
    weight, dtype = matrix() * 1e6, CASTINGS[name].dtype
    end = torch.finfo(dtype).max
    assert torch.equal(cast_matrix(weight, CASTINGS[name]).dense(), weight.clamp(-end, end).to(dtype).float())


def test_a_scale_per_row_is_closer_than_one_per_tensor_than_none() -> None:
    weight = matrix(decades=5)

    def error(name: str) -> float:
        rows = (cast_matrix(weight, CASTINGS[name]).dense() - weight).norm(dim=1) / weight.norm(dim=1)
        return float(rows.max())

    assert error("fp8_scaled") < 0.04 < error("fp8_scaled_tensor") < 0.5 < error("fp8_e4m3fn") <= 1
    assert cast_matrix(matrix(), CASTINGS["fp8_scaled_tensor"]).parts["scale"].shape == ()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_the_scale_of_a_row_is_its_largest_magnitude_by_448(dtype: torch.dtype) -> None:
    weight = matrix(24, 50).to(dtype)
    weight[3] = 0
    weight[4] = -0.0
    weight[5] = torch.finfo(dtype).smallest_normal / 4
    weight[6, 7] = -torch.finfo(dtype).max
    for row, value in enumerate((float("inf"), -float("inf"), float("nan")), 7):
        weight[row, row] = value
    weight[10, :2] = torch.tensor([float("nan"), -float("inf")], dtype=dtype)
    largest = torch.maximum(weight.amax(1, keepdim=True).float(), -weight.amin(1, keepdim=True).float())
    scale = cast_matrix(weight, CASTINGS["fp8_scaled"]).parts["scale"]
    assert torch.equal(scale.isnan(), largest.isnan()) and int(scale.isnan().sum()) == 2
    assert torch.equal(scale.nan_to_num(nan=1.0), (largest / 448).clamp(min=1e-12).nan_to_num(nan=1.0))


def test_rows_of_zeros_stay_zeros() -> None:
    weight = matrix()
    weight[3] = 0
    dense = cast_matrix(weight, CASTINGS["fp8_scaled"]).dense()
    assert bool((dense[3] == 0).all())
    assert bool(torch.isfinite(dense).all())


def test_a_stored_weight_is_cast_by_way_of_its_numbers_and_fp8_stays() -> None:
    codes = torch.randint(-127, 127, (16, 32), dtype=torch.int8, generator=torch.Generator().manual_seed(3))
    int8 = StoredWeight(INT8, {"weight": codes, "scale": torch.full((16, 1), 0.01)}, (16, 32))
    cast = cast_matrix(int8, CASTINGS["fp8_scaled"])
    assert torch.equal(cast.dense(), cast_matrix(int8.dense(), CASTINGS["fp8_scaled"]).dense())
    assert cast_matrix(cast, CASTINGS["fp8_compute"]) is cast
    assert cast_matrix(cast, CASTINGS["fp8_e5m2"]).parts["weight"].dtype == E5M2


def test_only_the_matrices_of_the_blocks_are_cast(dit_file) -> None:
    module = load(kinds.DIT, dit_file, precision="fp8_scaled", device="cpu").module
    cast = {name for name, layer in module.named_modules() if isinstance(layer, Linear) and layer.codec is FP8}
    every = {name for name, layer in module.named_modules() if isinstance(layer, Linear)}
    assert cast == {name for name in every if name.startswith("blocks.")}
    assert len(cast) == 2 * 12
    kept = {value.dtype for name, value in module.state_dict().items() if not is_cast(re.sub("_scale$", "", name))}
    assert kept == {torch.bfloat16}


@pytest.mark.parametrize("precision", ROUNDING)
def test_a_cast_model_computes_what_its_dequantised_weights_do(dit_file, precision: Precision) -> None:
    loaded = load(kinds.DIT, dit_file, precision=precision, device="cpu").module.float()
    dense = {key: value for key, value in loaded.state_dict().items() if not is_cast(re.sub("_scale$", "", key))}
    original = load(kinds.DIT, dit_file, precision="fp32", device="cpu").module.state_dict()
    for name, layer in loaded.named_modules():
        if isinstance(layer, Linear) and layer.codec is not None:
            dense[name + ".weight"] = layer.dense_weight()
            change = dense[name + ".weight"] - original[name + ".weight"]
            assert 0 < change.norm() <= ROUNDING[precision] * original[name + ".weight"].norm()
    plain = WanDiT(DIT).eval()
    plain.load_state_dict(dense)
    with torch.no_grad():
        assert torch.equal(loaded(inputs()), plain(inputs()))


def test_a_text_encoder_is_cast_too_and_a_vae_is_not(tmp_path) -> None:
    bundled = Path(wan_director.__file__).parent / "models" / "text_encoders"
    module = load(kinds.TEXT_ENCODER, next(bundled.glob("*.safetensors")), precision="fp8_scaled", device="cpu").module
    assert sum(getattr(layer, "codec", None) is FP8 for layer in module.modules()) == 7 * module.config.layers
    assert module.token_embedding.weight.dtype in (torch.bfloat16, torch.float32)
    assert bool(torch.isfinite(module(torch.tensor([[3, 4, 5, 1]]))).all())
    with torch.device("meta"):
        vae = CausalVAE(VAEConfig(base_channels=8, residual_blocks=1))
    save_file(random_weights(vae), tmp_path / "vae.safetensors", metadata=TINY)
    with pytest.raises(
        InvalidInputError, match="fp8_scaled is for the diffusion model and the text encoder, not for a"
    ):
        load(kinds.VAE, tmp_path / "vae.safetensors", precision="fp8_scaled", device="cpu")


def test_fp8_compute_is_close_to_16_bit_and_can_be_switched_off(dit_file) -> None:
    loaded = load(kinds.DIT, dit_file, precision="fp8_compute", device="cpu")
    with torch.no_grad():
        fp8 = loaded.module(inputs(torch.bfloat16), Execution(multiply="fp8")).float()
        assert allow_fp8(loaded.module) == 2 * 12
        stored = loaded.module(inputs(torch.bfloat16)).float()
    scaled = load(kinds.DIT, dit_file, precision="fp8_scaled", device="cpu")
    assert multiplication_of(loaded.module, CASTINGS["fp8_compute"]) == "fp8"
    assert multiplication_of(loaded.module, CASTINGS["fp8_scaled"]) == "dense"
    with torch.no_grad():
        assert torch.equal(scaled.module(inputs(torch.bfloat16)).float(), stored)
    # 3.7 % per product of Gaussian numbers, of which a residual stream keeps a part.
    assert 0 < (fp8 - stored).norm() / stored.norm() < 0.05


@pytest.mark.parametrize("multiply", [fp8_compute._by_row, fp8_compute._by_tensor])
@pytest.mark.parametrize("tokens", [1, 7, 64])
@pytest.mark.parametrize("scale", ["row", "tensor", None])
def test_fp8_products_are_those_of_the_rounded_factors(monkeypatch, multiply, tokens: int, scale: str | None) -> None:
    monkeypatch.setattr(fp8_compute, "find_multiply", lambda device: multiply)
    monkeypatch.setattr(fp8_compute, "_RUN_TOKENS", 16)
    weight = StoredWeight(FP8, {"weight": matrix().to(E4M3)}, (48, 64))
    if scale is not None:
        weight = cast_matrix(matrix(), CASTINGS["fp8_scaled" if scale == "row" else "fp8_scaled_tensor"])
    generator = torch.Generator().manual_seed(4)
    x = (torch.randn(2, tokens, 64, generator=generator) * 30).bfloat16()
    bias = torch.randn(48, generator=generator).bfloat16()
    codes, token_scale = fp8_compute.quantize_tokens(x.flatten(0, 1))
    rounded = codes.float() * token_scale
    assert float((rounded - x.flatten(0, 1).float()).norm() / x.float().norm()) < 0.04
    expected = (rounded @ weight.dense().T + bias.float()).view(2, tokens, 48)
    out = fp8_compute.fp8_linear(x, weight.parts, bias)
    assert (out.dtype, out.shape) == (torch.bfloat16, expected.shape)
    # Two to four roundings to bf16 (2**-9 each) behind a float32 sum.
    assert float((out.float() - expected).abs().max() / expected.abs().max()) < 1e-2


def test_what_cannot_be_multiplied_in_fp8_is_left_to_the_16_bit_path(monkeypatch) -> None:
    stored = cast_matrix(matrix(), CASTINGS["fp8_scaled"]).parts
    x = torch.randn(3, 64).bfloat16()
    assert fp8_compute.fp8_linear(x.float(), stored, None) is None
    odd = cast_matrix(matrix(48, 40), CASTINGS["fp8_scaled"]).parts
    assert fp8_compute.fp8_linear(x[:, :40], odd, None) is None
    assert fp8_compute.fp8_linear(x, cast_matrix(matrix(), CASTINGS["fp8_e5m2"]).parts, None) is None
    assert fp8_compute.fp8_linear(x[:0], stored, None) is None
    monkeypatch.setattr(fp8_compute, "find_multiply", lambda device: None)
    assert fp8_compute.fp8_linear(x, stored, None) is None


def test_a_device_without_fp8_says_so_once(monkeypatch, caplog) -> None:
    def refuse(*_arguments, **_options):
        raise RuntimeError("torch._scaled_mm is only supported on CUDA devices with compute capability >= 9.0 or 8.9")

    monkeypatch.setattr(torch, "_scaled_mm", refuse)
    fp8_compute.find_multiply.cache_clear()
    try:
        with caplog.at_level("INFO", logger="wan_director"):
            assert fp8_compute.find_multiply(torch.device("cpu")) is None
            assert fp8_compute.find_multiply(torch.device("cpu")) is None
        lines = [record.message for record in caplog.records if record.levelname == "INFO"]
        assert lines == ["cpu cannot multiply in fp8: fp8 weights are only stored, and widened for every use."]
    finally:
        fp8_compute.find_multiply.cache_clear()


@pytest.mark.gpu
@pytest.mark.parametrize("tokens", [1, 257, 5000])
@pytest.mark.parametrize("scale", ["fp8_scaled", "fp8_scaled_tensor"])
def test_a_gpu_multiplies_in_fp8_as_the_cpu_does(tokens: int, scale: str) -> None:
    device = torch.device("cuda")
    if fp8_compute.find_multiply(device) is None:
        assert torch.cuda.get_device_capability() < (8, 9) or torch.version.hip
        return
    stored = cast_matrix(matrix(2048, 1536), CASTINGS[scale])
    x = torch.randn(1, tokens, 1536, generator=torch.Generator().manual_seed(4)).bfloat16()
    codes, token_scale = fp8_compute.quantize_tokens(x[0])
    expected = codes.float() * token_scale @ stored.dense().T
    parts = {name: part.to(device) for name, part in stored.parts.items()}
    out = fp8_compute.fp8_linear(x.to(device), parts, None).float().cpu()[0]
    # Roundings to bf16 (2**-9 each); a code may fall on the other side of a tie; fp8 units sum in about 14 bits.
    assert float((out - expected).abs().max() / expected.abs().max()) < 2e-2


def test_a_lack_of_memory_says_nothing_about_a_device(monkeypatch) -> None:
    multiply, attempts = torch._scaled_mm, []

    def full_at_first(*arguments, **options):
        attempts.append(arguments)
        if len(attempts) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 32.00 MiB.")
        return multiply(*arguments, **options)

    monkeypatch.setattr(torch, "_scaled_mm", full_at_first)
    fp8_compute.find_multiply.cache_clear()
    try:
        with pytest.raises(torch.OutOfMemoryError):
            fp8_compute.find_multiply(torch.device("cpu"))
        assert fp8_compute.find_multiply(torch.device("cpu")) is fp8_compute._by_row
    finally:
        fp8_compute.find_multiply.cache_clear()


def test_a_kernel_that_is_wrong_for_large_products_is_left_alone(monkeypatch) -> None:
    multiply = torch._scaled_mm

    def wrong_by_row(*arguments, scale_a, **options):
        out = multiply(*arguments, scale_a=scale_a, **options)
        return out.fill_(0) if scale_a.numel() > 1 and len(out) > 1024 else out

    monkeypatch.setattr(torch, "_scaled_mm", wrong_by_row)
    fp8_compute.find_multiply.cache_clear()
    try:
        assert fp8_compute.find_multiply(torch.device("cpu")) is fp8_compute._by_tensor
    finally:
        fp8_compute.find_multiply.cache_clear()


def test_nan_in_the_input_comes_out_as_nan() -> None:
    x = torch.ones(4, 64).bfloat16()
    x[2, 5] = float("nan")
    out = fp8_compute.fp8_linear(x, cast_matrix(matrix(), CASTINGS["fp8_scaled"]).parts, None)
    assert bool(out[2].isnan().all())
    assert bool(torch.isfinite(out[[0, 1, 3]]).all())


def test_layers_that_ask_for_16_bit_are_not_multiplied_in_fp8() -> None:
    layer = Linear(64, 48)
    layer.store(StoredWeight(FP8_STORED, cast_matrix(matrix(), CASTINGS["fp8_scaled"]).parts, (48, 64)))
    holder = torch.nn.ModuleDict(
        {"blocks": torch.nn.ModuleDict({"0": torch.nn.ModuleDict({"ffn": torch.nn.Sequential(layer)})})}
    )
    assert allow_fp8(holder) == 0
    layer.codec = FP8
    assert allow_fp8(holder) == 1


def test_nan_weights_are_refused(tmp_path, dit_file) -> None:
    from wan_director.common.errors import CheckpointError

    checkpoint = open_checkpoint(dit_file)
    weights = {key: checkpoint.read(key).clone() for key in checkpoint.tensors}
    weights["blocks.1.ffn.0.weight"][2, 3] = float("nan")
    save_file(weights, tmp_path / "nan.safetensors", metadata=TINY)
    for precision in CASTINGS:
        with pytest.raises(CheckpointError, match=r"'blocks.1.ffn.0.weight' holds values that are no numbers"):
            load(kinds.DIT, tmp_path / "nan.safetensors", precision=precision, device="cpu")


def test_inspect_tells_the_memory_in_fp8(dit_file) -> None:
    checkpoint = open_checkpoint(dit_file)
    spec = inspect_checkpoint(checkpoint)
    module = load(kinds.DIT, dit_file, precision="fp8_scaled", device="cpu").module
    held = sum(value.numel() * value.element_size() for value in module.state_dict().values())
    assert loaded_bytes(checkpoint, spec, "fp8_scaled", "cpu") == held
    assert re.search(
        r"memory +\d+ kB, computed in bfloat16; \d+ kB with precision fp8_scaled", describe(spec, checkpoint)
    )


def test_inspect_tells_every_number_format_of_the_matrices(tmp_path, dit_file) -> None:
    checkpoint = open_checkpoint(dit_file)
    tensors: dict[str, Tensor] = {}
    for key in checkpoint.tensors:
        is_matrix = is_cast(key)
        tensors[key] = checkpoint.read(key).to(E4M3 if is_matrix else torch.bfloat16)
        if is_matrix:
            tensors[key.removesuffix(".weight") + ".scale_weight"] = torch.tensor(0.5)
    path = tmp_path / "scaled.safetensors"
    save_file(tensors | {"scaled_fp8": torch.zeros(2, dtype=E4M3)}, path, TINY)
    checkpoint = open_checkpoint(path)
    text = describe(inspect_checkpoint(checkpoint), checkpoint)
    assert re.search(r"precision +(fp8_e4m3fn, bf16|bf16, fp8_e4m3fn) \(scaled fp8\)", text)
    assert "scale_weight" not in text and "beside it" not in text


# What the loader asks for, not what the allocator keeps: huge pages round up to 2 MB, and freed scratch stays with the
# process. Both are a tenth of this small model, a thousandth of a true one.
MEASURE = """
import ctypes, sys
PR_SET_THP_DISABLE = 41
assert ctypes.CDLL(None).prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0
import torch
from wan_director.benchmarks.load_14b import anonymous_bytes, watch_anonymous
from wan_director.model_loading.build import load
from wan_director.model_loading import kinds
torch.set_num_threads(1)
load(kinds.DIT, sys.argv[2], precision="fp8_scaled", device="cpu")  # warms up the allocator and imports
before = anonymous_bytes()
with watch_anonymous() as peak:
    loaded = load(kinds.DIT, sys.argv[1], precision="fp8_scaled", device="cpu")
cast = sum(v.numel() for v in loaded.module.state_dict().values() if v.dtype == torch.float8_e4m3fn)
print((peak.bytes - before) / cast)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_casting_peaks_at_the_final_weights(tmp_path, dit_file) -> None:
    """Anonymous memory while loading stays below 1.1 times the fp8 matrices; the others are windows into the file.

    The largest matrix in float32 would be as much again.
    """
    config = DiTConfig(dim=2048, ffn_dim=8192, heads=16, layers=1)
    from wan_director.benchmarks.random_checkpoint import module_shapes, write_random_checkpoint

    with torch.device("meta"):
        shapes = module_shapes(WanDiT(config))
    write_random_checkpoint(tmp_path / "big.safetensors", shapes)
    command = [sys.executable, "-c", MEASURE, str(tmp_path / "big.safetensors"), str(dit_file)]
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120, env=environment)
    assert 0.9 < float(result.stdout) <= 1.1
