"""Faults that users of other loaders report, and that no other test here would show."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from wan_director.benchmarks import fuzz
from wan_director.dit.adapters import AppliedAdapter, ParameterShapes, adapted
from wan_director.dit.inputs import DitInputs
from wan_director.model_loading import kinds
from wan_director.model_loading.build import load
from wan_director.model_loading.lora.load import read_lora
from wan_director.model_loading.opening import open_checkpoint
from wan_director.model_loading.recognition.detect import inspect_checkpoint
from wan_director.text_encoder.umt5 import UMT5Config, UMT5Encoder

UMT5 = UMT5Config(vocab=40, dim=32, attention_dim=32, ffn_dim=64, heads=2, layers=2)
PIECES = ("<pad>", "</s>", "<unk>", "\u2581", "a", "b", "\u2581a")


def _spiece() -> Tensor:
    """A sentencepiece model: field 1 for each piece, holding its text, score and type."""
    data = b""
    for number, piece in enumerate(PIECES):
        text = piece.encode()
        kind = {0: 3, 1: 3, 2: 2}.get(number, 1)
        body = b"\x0a" + bytes([len(text)]) + text + b"\x15\0\0\x80\xbf" + b"\x18" + bytes([kind])
        data += b"\x0a" + bytes([len(body)]) + body
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)


def _hf_name(name: str) -> str:
    block, _, rest = name.removeprefix("blocks.").partition(".")
    attention, dense = "layer.0.SelfAttention.", "layer.1.DenseReluDense."
    renamed = {
        "norm1.weight": "layer.0.layer_norm.weight",
        "norm2.weight": "layer.1.layer_norm.weight",
        "ffn.gate.0.weight": dense + "wi_0.weight",
        "ffn.fc1.weight": dense + "wi_1.weight",
        "ffn.fc2.weight": dense + "wo.weight",
        "pos_embedding.embedding.weight": attention + "relative_attention_bias.weight",
    } | {f"attn.{part}.weight": f"{attention}{part}.weight" for part in "qkvo"}
    whole = {"norm.weight": "encoder.final_layer_norm.weight", "token_embedding.weight": "shared.weight"}
    return whole.get(name) or f"encoder.block.{block}.{renamed[rest]}"


def test_a_scaled_fp8_text_encoder_loads_and_computes_the_same(tmp_path: Path) -> None:
    """Refused by the wrapper in four of its threads; here the form that ComfyUI's users have."""
    with torch.device("meta"):
        encoder = UMT5Encoder(UMT5)
    generator = torch.Generator().manual_seed(3)
    stored: dict[str, Tensor] = {"spiece_model": _spiece(), "scaled_fp8": torch.empty(2, dtype=torch.float8_e4m3fn)}
    true: dict[str, Tensor] = {}
    for name, place in encoder.state_dict().items():
        weight = torch.randn(place.shape, generator=generator) / 6
        hf = _hf_name(name)
        if ".attn." in name or ".ffn." in name:
            scale = weight.abs().max() / 448
            stored[hf] = (weight / scale).to(torch.float8_e4m3fn)
            stored[hf.removesuffix("weight") + "scale_weight"] = scale
            true[name] = stored[hf].float() * scale
        else:
            stored[hf] = true[name] = weight
    path = tmp_path / "umt5.safetensors"
    save_file(stored, path, fuzz.METADATA)
    loaded = load(kinds.TEXT_ENCODER, path, precision="fp32", device="cpu")
    encoder.load_state_dict(true, assign=True)
    ids = torch.tensor([[4, 5, 6, 1]])
    mask = torch.ones_like(ids, dtype=torch.bool)
    with torch.inference_mode():
        torch.testing.assert_close(loaded.module(ids, mask), encoder.eval()(ids, mask), atol=1e-5, rtol=1e-5)
    assert loaded.spec.naming == "comfy"


@pytest.mark.parametrize("name", ["Wan2_2-I2V-480P-LOW-VACE-5B_fp8_scaled", "wan2.1_i2v_720p_HIGH", "flf2v"])
def test_words_in_the_file_name_change_nothing(tmp_path: Path, name: str) -> None:
    plain = tmp_path / "x.safetensors"
    save_file(fuzz.weights(), plain, fuzz.METADATA)
    named = tmp_path / f"{name}.safetensors"
    shutil.copy(plain, named)
    expected, found = (inspect_checkpoint(open_checkpoint(path)) for path in (plain, named))
    assert (found.title, found.config, found.weight_format) == (expected.title, expected.config, expected.weight_format)


@pytest.mark.parametrize("scaled", [False, True], ids=["plain", "scaled fp8"])
def test_another_strength_needs_no_reload_and_none_restores_every_bit(tmp_path: Path, scaled: bool) -> None:
    path, lora_path = tmp_path / "x.safetensors", tmp_path / "lora.safetensors"
    save_file(fuzz.scaled(torch.float8_e4m3fn) if scaled else fuzz.weights(), path, fuzz.METADATA)
    save_file({key: value / 8 for key, value in fuzz.lora().items()}, lora_path)
    loaded = load(kinds.DIT, path, precision="fp32", device="cpu")
    adapter = read_lora(lora_path, ParameterShapes.of(loaded.module), loaded.spec).adapter
    before = {name: (value.data_ptr(), value.clone()) for name, value in loaded.module.state_dict().items()}
    generator = torch.Generator().manual_seed(1)
    latent = torch.randn(1, 16, 1, 4, 4, generator=generator)
    inputs = DitInputs(latent, torch.tensor([500.0]), torch.randn(1, 4, 16, generator=generator))

    def run(*strengths: float) -> Tensor:
        stack = [AppliedAdapter(adapter, strength=strength) for strength in strengths]
        with torch.inference_mode(), adapted(loaded.module, stack):
            return loaded.module(inputs)

    without, weak, strong = run(), run(0.5), run(1.0)
    assert not torch.allclose(weak, strong, rtol=1e-2)
    assert torch.equal(run(0.5), weak)
    assert torch.equal(run(), without)
    after = loaded.module.state_dict()
    assert after.keys() == before.keys()
    for name, (place, value) in before.items():
        assert after[name].data_ptr() == place
        assert torch.equal(after[name].view(torch.uint8), value.view(torch.uint8)) if value.ndim else True
