"""Quantised files: what each spelling is detected as, and that it computes exactly what plain arithmetic gives."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from wan_director.dit.config import DiTConfig
from wan_director.dit.inputs import DitInputs
from wan_director.dit.model import WanDiT
from wan_director.model_loading import kinds
from wan_director.model_loading.build import load
from wan_director.model_loading.opening import open_checkpoint
from wan_director.model_loading.recognition.detect import inspect_checkpoint
from wan_director.text_encoder.clip_vision import ClipVisionConfig, ClipVisionEncoder
from wan_director.text_encoder.umt5 import UMT5Config, UMT5Encoder
from wan_director.vae3d.config import VAEConfig
from wan_director.vae3d.vae import CausalVAE
from wan_director.weights import int8
from wan_director.weights.layers import Embedding, Linear
from wan_director.weights.multiplication import allow_fp8

from ..weights.test_quant_arithmetic import LARGEST, hadamard
from .conftest import random_weights

# Sides are multiples of 64 where matrices are quantised, so that groups of 16, 32 and 64 fit.
DIT = DiTConfig(dim=128, ffn_dim=192, heads=4, layers=2, text_dim=64, freq_dim=64)
UMT5 = UMT5Config(vocab=520, dim=32, attention_dim=48, ffn_dim=64, heads=4, layers=2)
TINY = {"wan_director.family": "tiny", "wan_director.heads": "4"}
E4M3, E5M2 = torch.float8_e4m3fn, torch.float8_e5m2

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def weights() -> State:
    with torch.device("meta"):
        module = WanDiT(DIT)
    return random_weights(module)


def matrices(weights: State) -> list[str]:
    """The weights of all Linear layers, as ComfyUI's older scaled files have them."""
    return [key for key, value in weights.items() if value.ndim == 2 and key.endswith(".weight")]


def in_blocks(weights: State) -> list[str]:
    return [key for key in matrices(weights) if key.startswith("blocks.")]


def layer(key: str) -> str:
    return key.removesuffix(".weight")


def to_fp8(weight: Tensor, dtype: torch.dtype, per_row: bool) -> tuple[Tensor, Tensor]:
    scale = (weight.abs().amax(1, keepdim=True) if per_row else weight.abs().amax()) / LARGEST[dtype]
    return (weight / scale).to(dtype), scale


def plain_fp8(weights: State, dtype: torch.dtype) -> tuple[State, State]:
    """Every tensor in fp8: norms, biases, modulation and the patch convolution too."""
    state = {key: value.to(dtype) for key, value in weights.items()}
    return state, {key: value.float() for key, value in state.items()}


def scaled_fp8(
    weights: State, keys: list[str], dtype: torch.dtype, end: str, per_row: bool = False
) -> tuple[State, State]:
    state, exact = dict(weights), dict(weights)
    for key in keys:
        codes, scale = to_fp8(weights[key], dtype, per_row)
        state[key], state[layer(key) + end] = codes, scale
        exact[key] = codes.float() * scale
    return state, exact


def old_comfy(weights: State, elements: int = 0) -> tuple[State, State]:
    state, exact = scaled_fp8(weights, matrices(weights), E4M3, ".scale_weight")
    state |= {layer(key) + ".scale_input": torch.tensor(0.7) for key in matrices(weights)}
    return {**state, "scaled_fp8": torch.zeros(elements)}, exact


def lightx2v_int8(weights: State) -> tuple[State, State]:
    state, exact = dict(weights), dict(weights)
    for key in in_blocks(weights):
        scale = weights[key].abs().amax(1, keepdim=True) / 127
        codes = (weights[key] / scale).round().to(torch.int8)
        state[key], state[layer(key) + ".weight_scale"] = codes, scale.bfloat16()
        exact[key] = codes.float() * scale.bfloat16().float()
    return state, exact


def comfy_marker(config: dict) -> Tensor:
    return torch.frombuffer(bytearray(json.dumps(config).encode()), dtype=torch.uint8)


def convrot(weights: State, group: int) -> tuple[State, State]:
    state, exact = dict(weights), dict(weights)
    config = {"format": "int8_tensorwise", "convrot": True, "convrot_groupsize": group}
    rotation = hadamard(group)
    for key in in_blocks(weights):
        rotated = (weights[key].double().unflatten(1, (-1, group)) @ rotation.T).flatten(1)
        scale = rotated.abs().amax(1, keepdim=True) / 127
        codes = (rotated / scale).round().to(torch.int8)
        state[key], state[layer(key) + ".weight_scale"] = codes, scale.float()
        state[layer(key) + ".comfy_quant"] = comfy_marker(config)
        numbers = codes.double() * scale.float().double()
        exact[key] = (numbers.unflatten(1, (-1, group)) @ rotation).flatten(1).float()
    return state, exact


def comfy_mixed(weights: State) -> tuple[State, State]:
    """fp8 e4m3fn, e5m2, int8 and plain layers in one file, each with its own marker."""
    state, exact = dict(weights), dict(weights)
    for number, key in enumerate(in_blocks(weights)):
        dtype = (E4M3, E5M2, torch.int8, None)[number % 4]
        if dtype is None:
            continue
        if dtype == torch.int8:
            scale = weights[key].abs().amax() / 127
            codes, config = (weights[key] / scale).round().to(torch.int8), {"format": "int8_tensorwise"}
        else:
            codes, scale = to_fp8(weights[key], dtype, per_row=False)
            config = {"format": str(dtype).removeprefix("torch."), "full_precision_matrix_mult": number % 8 == 0}
        state |= {key: codes, layer(key) + ".weight_scale": scale, layer(key) + ".comfy_quant": comfy_marker(config)}
        state[layer(key) + ".input_scale"] = torch.tensor(0.3)
        exact[key] = codes.float() * scale
    return state, exact


FILES: dict[str, tuple[str, Callable[[State], tuple[State, State]]]] = {
    "plain e4m3fn": ("plain fp8", lambda w: plain_fp8(w, E4M3)),
    "plain e5m2": ("plain fp8", lambda w: plain_fp8(w, E5M2)),
    "old ComfyUI": ("scaled fp8", old_comfy),
    "old ComfyUI, full precision": ("scaled fp8", lambda w: old_comfy(w, elements=2)),
    "wrapper e4m3fn": ("scaled fp8", lambda w: scaled_fp8(w, in_blocks(w), E4M3, ".scale_weight")),
    "wrapper e5m2": ("scaled fp8", lambda w: scaled_fp8(w, in_blocks(w), E5M2, ".scale_weight")),
    "weight_scale": ("scaled fp8", lambda w: scaled_fp8(w, in_blocks(w), E4M3, ".weight_scale")),
    "LightX2V fp8": ("scaled fp8", lambda w: scaled_fp8(w, in_blocks(w), E4M3, ".weight_scale", per_row=True)),
    "LightX2V int8": ("int8", lightx2v_int8),
    "ComfyUI mixed": ("a format per layer", comfy_mixed),
    "ConvRot 64": ("a format per layer", lambda w: convrot(w, 64)),
    "ConvRot 16": ("a format per layer", lambda w: convrot(w, 16)),
}


def save(folder: Path, state: State, metadata: dict[str, str] = TINY) -> Path:
    path = folder / "model.safetensors"
    save_file({key: value.contiguous() for key, value in state.items()}, path, metadata=metadata)
    return path


def inputs() -> DitInputs:
    generator = torch.Generator().manual_seed(2)
    latent = torch.randn(1, 16, 3, 8, 8, generator=generator)
    return DitInputs(latent=latent, timestep=torch.tensor([700.0]), text=torch.randn(1, 7, 64, generator=generator))


def assert_computes(module: WanDiT, exact: State) -> None:
    """The model equals the one with the dequantised weights: within 1e-6, for sums of another order in the kernels."""
    plain = WanDiT(DIT).eval()
    plain.load_state_dict(exact)
    with torch.no_grad():
        expected, out = plain(inputs()), module(inputs())
    assert float((out - expected).norm() / expected.norm()) <= 1e-6


@pytest.mark.parametrize("name", FILES)
def test_a_quantised_transformer_computes_what_its_dequantised_weights_do(tmp_path, weights, name: str) -> None:
    format_name, make = FILES[name]
    state, exact = make(weights)
    path = save(tmp_path, state)
    loaded = load(kinds.DIT, path, precision="fp32", device="cpu")
    assert loaded.spec.weight_format.name == format_name
    assert_computes(loaded.module, exact)
    for key, layer_ in ((key + ".weight", layer_) for key, layer_ in loaded.module.named_modules()):
        if isinstance(layer_, Linear):
            assert (layer_.codec is not None) == (state[key].dtype not in (torch.float32,))
            tolerance = {"rtol": 0, "atol": 1e-6} if "ConvRot" in name else {"rtol": 0, "atol": 0}
            torch.testing.assert_close(layer_.dense_weight(), exact[key], **tolerance)
            assert torch.equal(layer_.dense_weight(torch.bfloat16), layer_.dense_weight().bfloat16())


@pytest.mark.parametrize("prefix", ["model.diffusion_model.", "diffusion_model.", "_orig_mod."])
def test_prefixes_and_compiled_names(tmp_path, weights, prefix: str) -> None:
    state, exact = old_comfy(weights)
    assert_computes(
        load(
            kinds.DIT, save(tmp_path, {prefix + k: v for k, v in state.items()}), precision="fp32", device="cpu"
        ).module,
        exact,
    )


@pytest.mark.parametrize("named", ["with the prefix", "without", "as a bare format"])
def test_header_metadata_gives_the_format_of_each_layer(tmp_path, weights, named: str) -> None:
    state, exact = comfy_mixed(weights)
    markers = [key for key in state if key.endswith(".comfy_quant")]
    configs = {key.removesuffix(".comfy_quant"): json.loads(state.pop(key).numpy().tobytes()) for key in markers}
    prefix = "model.diffusion_model."
    if named == "with the prefix":
        configs = {prefix + key: config for key, config in configs.items()}
    if named == "as a bare format":
        configs = {key: config["format"] for key, config in configs.items()}
    metadata = {**TINY, "_quantization_metadata": json.dumps({"format_version": "1.0", "layers": configs})}
    loaded = load(
        kinds.DIT, save(tmp_path, {prefix + k: v for k, v in state.items()}, metadata), precision="fp32", device="cpu"
    )
    assert loaded.spec.weight_format.name == "a format per layer"
    assert_computes(loaded.module, exact)


@pytest.mark.parametrize(("elements", "count"), [(0, 24 - 4), (1, 24 - 4), (2, 0)])
def test_two_elements_of_the_marker_mean_16_bit_products(tmp_path, weights, elements: int, count: int) -> None:
    state, _ = old_comfy(weights, elements)
    module = load(kinds.DIT, save(tmp_path, state), device="cpu").module
    assert allow_fp8(module) == count


def test_the_compute_dtype_is_that_of_the_16_bit_tensors(tmp_path, weights) -> None:
    for dtype, expected in ((torch.float16, "F16"), (torch.bfloat16, "BF16"), (torch.float32, "BF16")):
        state, _ = old_comfy({key: value.to(dtype).float() for key, value in weights.items()})
        state = {
            key: value.to(dtype) if key in weights and value.dtype == torch.float32 else value
            for key, value in state.items()
        }
        assert inspect_checkpoint(open_checkpoint(save(tmp_path, state))).plain_dtype == expected
    assert load(kinds.DIT, tmp_path / "model.safetensors", device="cpu").dtype == torch.bfloat16


def test_stored_matrices_are_windows_into_the_file(tmp_path, weights) -> None:
    state, _ = old_comfy(weights)
    module = load(kinds.DIT, save(tmp_path, state), device="cpu").module
    again = open_checkpoint(tmp_path / "model.safetensors")
    stored = module.blocks[0].ffn[0].stored()
    assert stored.parts["weight"].dtype == E4M3
    assert torch.equal(stored.parts["weight"].view(torch.uint8), again.read("blocks.0.ffn.0.weight").view(torch.uint8))


# -- other models ------------------------------------------------------------------------------------------------------


def test_an_fp8_scaled_text_encoder(tmp_path) -> None:
    """As ComfyUI's: a 16-bit embedding, scales for the seven matrices of each layer, no scales of inputs."""
    with torch.device("meta"):
        encoder = UMT5Encoder(UMT5)
    plain = random_weights(encoder)
    keys = [key for key in plain if ".attn." in key or ".ffn." in key]
    assert len(keys) == 7 * UMT5.layers
    state, exact = scaled_fp8(plain, keys, E4M3, ".scale_weight")
    loaded = load_text(tmp_path, {**state, "scaled_fp8": torch.empty(0)})
    assert isinstance(loaded.token_embedding, Embedding) and loaded.token_embedding.codec is None
    assert_encodes(loaded, exact)


def test_a_wholly_fp8_text_encoder_looks_up_rows_of_its_stored_embedding(tmp_path) -> None:
    with torch.device("meta"):
        encoder = UMT5Encoder(UMT5)
    plain = random_weights(encoder)
    state, exact = plain_fp8(plain, E4M3)
    loaded = load_text(tmp_path, state)
    assert loaded.token_embedding.codec is not None
    assert_encodes(loaded, exact)


def load_text(folder: Path, state: State) -> UMT5Encoder:
    import wan_director

    bundled = Path(wan_director.__file__).parent / "models" / "text_encoders"
    passengers = open_checkpoint(next(bundled.glob("*.safetensors")))
    tokenizer = next(key for key in passengers.tensors if key in ("tokenizer_json", "spiece_model"))
    return load(
        kinds.TEXT_ENCODER,
        save(folder, {**state, tokenizer: passengers.read(tokenizer).clone()}),
        precision="fp32",
        device="cpu",
    ).module


def assert_encodes(module: UMT5Encoder, exact: State) -> None:
    reference = UMT5Encoder(UMT5).eval()
    reference.load_state_dict(exact)
    ids = torch.tensor([[5, 17, 299, 1]])
    with torch.no_grad():
        expected, out = reference(ids), module(ids)
    assert float((out - expected).norm() / expected.norm()) <= 1e-6


def test_fp8_vae_and_clip_vision_become_plain_or_stay_stored(tmp_path) -> None:
    with torch.device("meta"):
        vae = CausalVAE(VAEConfig(base_channels=8, residual_blocks=1))
        clip = ClipVisionEncoder(
            ClipVisionConfig(image_size=56, patch=14, dim=64, heads=4, layers=2, mlp_dim=128, embed_dim=32)
        )
    state, exact = plain_fp8(random_weights(vae), E4M3)
    loaded = load(kinds.VAE, save(tmp_path, state), precision="fp32", device="cpu").module
    assert all(torch.equal(value, exact[key]) for key, value in loaded.state_dict().items())
    state, exact = plain_fp8(random_weights(clip), E4M3)
    clip = load(kinds.CLIP_VISION, save(tmp_path, state), precision="fp32", device="cpu").module
    for name, module in clip.named_modules():
        if isinstance(module, Linear):
            assert torch.equal(module.dense_weight(), exact[name + ".weight"])
            assert torch.equal(module.bias, exact[name + ".bias"])


# -- formats of comfy-kitchen ------------------------------------------------------------------------------------------


def blockwise(weights: State, form: str) -> tuple[State, State]:
    """The blocks as comfy-kitchen writes them, and their numbers decoded here by the formats' definitions."""
    kitchen = pytest.importorskip("comfy_kitchen")
    state, exact = dict(weights), dict(weights)
    for key in in_blocks(weights):
        state[layer(key) + ".comfy_quant"] = comfy_marker({"format": form})
        if form == "mxfp8":
            state[key], block_scale = kitchen.quantize_mxfp8(weights[key])
            state[key + "_scale"] = block_scale
            scales = torch.pow(2.0, untiled(block_scale.view(torch.uint8), weights[key].shape, 32).double() - 127)
            numbers = state[key].double()
        else:
            scale = weights[key].abs().amax() / (448 * 6)
            state[key], block_scale = kitchen.quantize_nvfp4(weights[key], scale)
            state[key + "_scale"], state[key + "_scale_2"] = block_scale, scale
            scales = untiled(block_scale.double(), weights[key].shape, 16) * scale.double()
            nibbles = torch.stack([state[key] >> 4, state[key] & 15], -1).flatten(1).long()
            table = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6], dtype=torch.float64)
            numbers = torch.cat([table, -table])[nibbles]
        exact[key] = (numbers * scales).float()
    return state, exact


def untiled(tiles: Tensor, shape: torch.Size, block: int) -> Tensor:
    """One number per element from scales in cuBLAS's tiles of 128 x 4."""
    rows, blocks = shape[0], shape[1] // block
    flat, tiles_across = tiles.flatten(), -(-blocks // 4)
    out = torch.empty(rows, blocks, dtype=tiles.dtype)
    for row in range(rows):
        for column in range(blocks):
            tile = row // 128 * tiles_across + column // 4
            out[row, column] = flat[tile * 512 + row % 32 * 16 + row % 128 // 32 * 4 + column % 4]
    return out.repeat_interleave(block, 1)


@pytest.mark.parametrize("form", ["nvfp4", "mxfp8"])
def test_blockwise_formats_are_read_by_their_definitions(tmp_path, weights, form: str) -> None:
    state, exact = blockwise(weights, form)
    loaded = load(kinds.DIT, save(tmp_path, state), precision="fp32", device="cpu").module
    for key in in_blocks(weights):
        dense = loaded.get_submodule(layer(key)).dense_weight()
        torch.testing.assert_close(dense, exact[key], rtol=3e-7, atol=0)
    assert_computes(loaded, exact)


def test_rotated_int8_as_comfy_kitchen_writes_it(weights) -> None:
    kitchen = pytest.importorskip("comfy_kitchen.backends.eager.quantization")
    weight = weights["blocks.0.ffn.0.weight"]
    codes, scale = kitchen.quantize_int8_convrot_weight(weight, 64)
    ours = int8.Int8Codec(64).dequantize({"weight": codes, "scale": scale}, tuple(weight.shape), torch.float32)
    torch.testing.assert_close(ours, kitchen.dequantize_int8_convrot_weight(codes, scale, 64), rtol=0, atol=1e-6)
    assert float((ours - weight).norm() / weight.norm()) < 0.01
