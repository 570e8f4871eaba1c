"""GGUF transformers and text encoders load through the public loaders and compute as their dequantised weights do."""

from __future__ import annotations

import re
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Ggml
from torch import Tensor, nn
from wan_director.common.errors import CheckpointError, MissingFileError, PairingError
from wan_director.dit.config import DiTConfig
from wan_director.dit.inputs import DitInputs
from wan_director.dit.model import WanDiT
from wan_director.model_loading import kinds
from wan_director.model_loading.build import load
from wan_director.model_loading.describe import describe
from wan_director.model_loading.opening import open_checkpoint
from wan_director.model_loading.recognition.detect import inspect_checkpoint
from wan_director.text_encoder.spiece import read_spiece
from wan_director.text_encoder.tokenizer import Tokenizer
from wan_director.text_encoder.umt5 import UMT5Config, UMT5Encoder
from wan_director.weights.ggml_types import BLOCK_TYPES
from wan_director.weights.gguf import CODECS
from wan_director.weights.gguf_blocks import SCALES

DIT = DiTConfig(dim=256, ffn_dim=512, heads=4, layers=2, in_channels=16, text_dim=256)
UMT5 = UMT5Config(vocab=1100, dim=256, attention_dim=256, ffn_dim=512, heads=32, layers=2)
TINY = {"wan_director.family": "tiny", "wan_director.heads": "4"}
FP32 = {"precision": "fp32", "device": "cpu"}
TINY_ENCODER = Path(__file__).parents[2] / "models/text_encoders/wan_director_tiny_demo_text_encoder.safetensors"


def _pack(kind: str, shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
    """Random blocks of numbers of a weight's usual size. (The gguf package can pack only some of the types.)"""
    block, (start, count) = BLOCK_TYPES[kind], SCALES[kind]
    packed = generator.integers(0, 256, (*shape[:-1], shape[-1] // block.elements, block.size_bytes), dtype=np.uint8)
    for scale in (1.0, None):
        half = np.float16(scale or 0.05 / gguf.dequantize(packed[:1].reshape(1, -1), Ggml[kind]).std())
        packed[..., start : start + count] = np.tile(np.frombuffer(half.tobytes(), np.uint8), count // 2)
    return packed.reshape(*shape[:-1], -1)


def _weights(module: nn.Module) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(3)
    return {key: torch.randn(value.shape, generator=generator) / 12 for key, value in module.state_dict().items()}


def _quantise(weights: dict[str, Tensor], kinds: dict[str, str]) -> tuple[dict, dict[str, Tensor]]:
    """What to write, and the plain weights it stands for. `kinds`: end of a name -> ggml type, "" for the others."""
    generator, stored, plain = np.random.default_rng(7), {}, {}
    for key, weight in weights.items():
        kind = next(kind for end, kind in kinds.items() if key.endswith(end))
        if weight.ndim != 2 or kind == "F32" or weight.shape[-1] % BLOCK_TYPES[kind].elements:
            stored[key], plain[key] = weight.numpy(), weight
            continue
        stored[key] = (_pack(kind, tuple(weight.shape), generator), kind)
        plain[key] = torch.from_numpy(gguf.dequantize(stored[key][0], Ggml[kind]))
    return stored, plain


def _meta(make, config) -> nn.Module:
    with torch.device("meta"):
        return make(config)


def _module(make, config, weights: dict[str, Tensor]) -> nn.Module:
    module = _meta(make, config)
    module.load_state_dict(weights, assign=True)
    return module.eval()


@pytest.fixture(scope="module")
def dit_weights() -> dict[str, Tensor]:
    return _weights(_meta(WanDiT, DIT))


@pytest.fixture(scope="module")
def inputs() -> DitInputs:
    generator = torch.Generator().manual_seed(1)
    latent, text = torch.randn(1, 16, 2, 4, 4, generator=generator), torch.randn(1, 512, 256, generator=generator)
    return DitInputs(latent, torch.tensor([500.0]), text)


def _assert_equal(got: Tensor, expected: Tensor) -> None:
    assert expected.abs().max() > 0.1
    assert (got - expected).abs().max() <= 1e-6 * expected.abs().max()


@pytest.mark.parametrize("kind", sorted(CODECS))
@torch.no_grad()
def test_a_transformer_computes_as_its_dequantised_weights(write_gguf, dit_weights, inputs, kind: str) -> None:
    stored, plain = _quantise(dit_weights, {"": kind})
    loaded = load(kinds.DIT, write_gguf(stored, TINY), **FP32)
    layer = loaded.module.blocks[1].ffn[0]
    assert layer.weight.dtype == torch.uint8  # still packed
    assert (loaded.spec.weight_format.name, loaded.spec.file_dtype) == ("GGUF", kind)
    _assert_equal(loaded.module(inputs), _module(WanDiT, DIT, plain)(inputs))


MIXED = {
    "ffn.2.weight": "Q6_K",
    "attn.v.weight": "Q5_K",
    "embedding.0.weight": "Q8_0",
    "head.weight": "F32",
    "": "Q4_K",
}


@torch.no_grad()
def test_a_file_of_mixed_types_as_tools_write_them_loads(write_gguf, dit_weights, inputs) -> None:
    """As llama-quantize leaves it: leading ones dropped, the patch embedding joined to four dimensions."""
    stored, plain = _quantise(dit_weights, MIXED)
    for key in [key for key in stored if key.endswith("modulation")]:
        stored[key] = stored[key][0]
    stored["patch_embedding.weight"] = stored["patch_embedding.weight"].reshape(256 * 16, 1, 2, 2)
    path = write_gguf(stored, TINY)
    loaded = load(kinds.DIT, path, **FP32)
    _assert_equal(loaded.module(inputs), _module(WanDiT, DIT, plain)(inputs))
    text = describe(loaded.spec, open_checkpoint(path))
    assert re.search(r"precision +Q4_K\b.* \(GGUF\)", text), text


def test_a_file_of_16_bit_tensors_is_plain(write_gguf, dit_weights) -> None:
    stored = {key: value.half().numpy() for key, value in dit_weights.items()}
    loaded = load(kinds.DIT, write_gguf(stored, TINY), **FP32)
    assert (loaded.spec.weight_format.name, loaded.spec.file_dtype) == ("plain", "F16")
    state = loaded.module.state_dict()
    assert all(torch.equal(state[key], value.half().float()) for key, value in dit_weights.items())


def test_without_a_wish_a_quantised_file_computes_in_bf16(write_gguf, dit_weights, inputs) -> None:
    stored, _ = _quantise(dit_weights, {"": "Q8_0"})
    loaded = load(kinds.DIT, write_gguf(stored, TINY), device="cpu")
    assert loaded.dtype == torch.bfloat16
    with torch.no_grad():
        assert loaded.module(inputs).isfinite().all()


def test_a_type_that_cannot_be_read_is_refused_on_loading_but_named_before(write_gguf, dit_weights) -> None:
    stored, _ = _quantise(dit_weights, {"": "Q8_0"})
    key = "blocks.0.ffn.0.weight"
    stored[key] = (np.zeros((512, BLOCK_TYPES["IQ3_S"].size_bytes), np.uint8), "IQ3_S")
    path = write_gguf(stored, TINY)
    assert inspect_checkpoint(open_checkpoint(path)).weight_format.name == "GGUF"
    with pytest.raises(CheckpointError, match=rf"'{key}' is stored as IQ3_S, .* Use a Q8_0"):
        load(kinds.DIT, path, **FP32)


_LLAMA_NAMES = {
    ".attn.": ".attn_",
    ".pos_embedding.embedding.": ".attn_rel_b.",
    ".norm1.": ".attn_norm.",
    ".norm2.": ".ffn_norm.",
    ".ffn.gate.0.": ".ffn_gate.",
    ".ffn.fc1.": ".ffn_up.",
    ".ffn.fc2.": ".ffn_down.",
    "blocks.": "enc.blk.",
    "token_embedding.": "token_embd.",
}


def _llama_name(key: str) -> str:
    for ours, theirs in _LLAMA_NAMES.items():
        key = key.replace(ours, theirs)
    return "enc.output_norm.weight" if key == "norm.weight" else key


def _spiece() -> bytes:
    checkpoint = open_checkpoint(TINY_ENCODER)
    key = next(key for key in checkpoint.tensors if key.endswith("spiece_model"))
    return checkpoint.read(key).numpy().tobytes()


def _tokenizer_metadata(vocab: int) -> dict[str, object]:
    """As llama.cpp's converter writes it, filled up with unused pieces."""
    model = read_spiece(_spiece())
    unused = range(len(model.pieces), vocab)
    return {
        "tokenizer.ggml.model": "t5",
        "tokenizer.ggml.tokens": [piece.text for piece in model.pieces] + [f"[PAD{index}]" for index in unused],
        "tokenizer.ggml.scores": [piece.score for piece in model.pieces] + [-10000.0 for _ in unused],
        "tokenizer.ggml.token_type": [piece.type for piece in model.pieces] + [5 for _ in unused],
        "tokenizer.ggml.add_space_prefix": model.adds_leading_space,
        "tokenizer.ggml.remove_extra_whitespaces": model.removes_extra_spaces,
        "tokenizer.ggml.eos_token_id": [piece.text for piece in model.pieces].index(model.end_piece),
        **({"tokenizer.ggml.precompiled_charsmap": model.charsmap} if model.charsmap else {}),
    }


@pytest.fixture(scope="module")
def encoder_weights() -> dict[str, Tensor]:
    return _weights(_meta(UMT5Encoder, UMT5))


def _encoder_file(write_gguf, weights: dict[str, Tensor], kind: str, metadata: dict) -> tuple[Path, dict[str, Tensor]]:
    stored, plain = _quantise(weights, {"": kind})
    named = {_llama_name(key): value for key, value in stored.items()}
    return write_gguf(named, {**metadata, "wan_director.family": "tiny"}, arch="t5encoder"), plain


@pytest.mark.parametrize("kind", ["Q8_0", "Q6_K", "Q4_K", "Q3_K"])
@torch.no_grad()
def test_a_text_encoder_computes_as_its_dequantised_weights(write_gguf, encoder_weights, kind: str) -> None:
    path, plain = _encoder_file(write_gguf, encoder_weights, kind, _tokenizer_metadata(UMT5.vocab))
    loaded = load(kinds.TEXT_ENCODER, path, **FP32)
    assert loaded.module.config == UMT5
    assert loaded.spec.naming == "llama"
    assert loaded.module.token_embedding.weight.dtype == torch.uint8  # rows are looked up packed
    ids = torch.tensor([loaded.tokenizer.encode("A red fox runs over the snow.")])
    _assert_equal(loaded.module(ids), _module(UMT5Encoder, UMT5, plain)(ids))
    assert "llama.cpp names" in describe(loaded.spec, open_checkpoint(path))


def test_the_tokenizer_from_metadata_gives_the_ids_of_the_sentencepiece_model(write_gguf, encoder_weights) -> None:
    path, _ = _encoder_file(write_gguf, encoder_weights, "Q8_0", _tokenizer_metadata(UMT5.vocab))
    rebuilt, original = load(kinds.TEXT_ENCODER, path, **FP32).tokenizer, Tokenizer.from_spiece(_spiece())
    pieces = read_spiece(_spiece()).pieces
    texts = [
        "",
        " ",
        "A cat.",
        "  two  spaces ",
        "Ünïcödé \u96ea \N{SNOWMAN}\U0001f98a",
        "<0x41> </s> <unk>",
        "[PAD1099]",
        "a\tb\nc",
    ]
    texts += [" ".join(piece.text for piece in pieces[start : start + 50]) for start in range(0, len(pieces), 50)]
    for text in texts:
        assert rebuilt.encode(text) == original.encode(text), text
    assert rebuilt.end_id == original.end_id


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"tokenizer.ggml.model": "gpt2"}, CheckpointError, "a tokenizer of the kind 'gpt2'"),
        ({"tokenizer.ggml.scores": [1.0, 2.0]}, CheckpointError, "no list of 1100 scores"),
        ({"tokenizer.ggml.token_type": ["a", "b"]}, CheckpointError, "no list of 1100 token_type"),
        ({"tokenizer.ggml.eos_token_id": 2_000_000}, CheckpointError, "no piece for the end"),
        ({"tokenizer.ggml.token_type": [1] * 1100}, CheckpointError, "no piece for the end or for unknown text"),
        ({"tokenizer.ggml.scores": [float("nan")] * 1100}, CheckpointError, "scores that are no numbers"),
        ({"tokenizer.ggml.precompiled_charsmap": b"\xff" * 9}, CheckpointError, "charsmap"),
        ({"tokenizer.ggml.tokens": ["x"] * 1101}, PairingError, "1101 pieces, but the encoder knows only 1100"),
    ],
)
def test_a_damaged_tokenizer_is_refused(write_gguf, encoder_weights, change: dict, error: type, says: str) -> None:
    path, _ = _encoder_file(write_gguf, encoder_weights, "Q8_0", _tokenizer_metadata(UMT5.vocab) | change)
    with pytest.raises(error, match=says):
        load(kinds.TEXT_ENCODER, path, **FP32)


def test_without_metadata_the_tokenizer_beside_the_file_is_taken(write_gguf, encoder_weights, tmp_path: Path) -> None:
    path, _ = _encoder_file(write_gguf, encoder_weights, "Q8_0", {})
    with pytest.raises(MissingFileError, match="carries no tokenizer"):
        load(kinds.TEXT_ENCODER, path, **FP32)
    (tmp_path / "spiece.model").write_bytes(_spiece())
    assert load(kinds.TEXT_ENCODER, path, **FP32).tokenizer.encode("A cat.")


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (("token_embd.weight", "enc.blk.0.attn_q.weight", "enc.blk.0.attn_rel_b.weight"), "a T5 text encoder"),
        (("token_embd.weight", "blk.0.attn_q.weight"), r"a language model \(Llama, Qwen or Gemma\)"),
        (("double_blocks.0.img_attn.qkv.weight", "single_blocks.0.linear1.weight"), "Flux"),
    ],
)
def test_gguf_files_of_other_models_are_named(write_gguf, names: tuple[str, ...], says: str) -> None:
    path = write_gguf({name: np.ones((2, 32), np.float32) for name in names}, arch="other")
    with pytest.raises(CheckpointError, match=says):
        inspect_checkpoint(open_checkpoint(path))
