"""Small models saved in every naming load back equal, strictly, in the asked precision."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from wan_director.common.errors import CheckpointError, InvalidInputError, MissingFileError, PairingError
from wan_director.dit.branches.clip import ClipBranch, ClipInput
from wan_director.dit.config import DiTConfig
from wan_director.dit.model import WanDiT
from wan_director.model_loading import kinds
from wan_director.model_loading.build import load, model_key
from wan_director.model_loading.outline import outline
from wan_director.text_encoder.clip_vision import ClipVisionConfig, ClipVisionEncoder
from wan_director.text_encoder.umt5 import UMT5Config, UMT5Encoder
from wan_director.vae3d.config import VAEConfig
from wan_director.vae3d.vae import CausalVAE

DIT = DiTConfig(dim=96, ffn_dim=160, heads=4, layers=2, in_channels=36, text_dim=32, branches=(ClipBranch(48, 34),))
VAE = VAEConfig(base_channels=8, residual_blocks=1)
UMT5 = UMT5Config(vocab=300, dim=32, attention_dim=48, ffn_dim=64, heads=4, layers=2)
CLIP = ClipVisionConfig(image_size=56, patch=14, dim=64, heads=4, layers=2, mlp_dim=128, embed_dim=32)
TINY = {"wan_director.family": "tiny", "wan_director.heads": "4"}
CPU = {"device": "cpu"}


def _random(module: nn.Module) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(5)
    return {key: torch.randn(value.shape, generator=generator) / 8 for key, value in module.state_dict().items()}


def _meta(make, *arguments, **options) -> nn.Module:
    with torch.device("meta"):
        return make(*arguments, **options)


def _save(path: Path, weights: dict[str, Tensor], metadata: dict[str, str] = TINY) -> Path:
    save_file(weights, path, metadata=metadata)
    return path


@pytest.fixture(scope="module")
def dit_weights() -> dict[str, Tensor]:
    return _random(_meta(WanDiT, DIT))


def _same(module: nn.Module, weights: dict[str, Tensor]) -> bool:
    state = module.state_dict()
    return state.keys() == weights.keys() and all(torch.equal(state[key], weights[key]) for key in weights)


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model.", "diffusion_model.", "model.", "_orig_mod."])
def test_official_and_comfy_transformers_load_equal(tmp_path, dit_weights, prefix: str) -> None:
    path = _save(tmp_path / "x.safetensors", {prefix + key: value for key, value in dit_weights.items()})
    loaded = load(kinds.DIT, path, fp32_residual=True)
    assert _same(loaded.module, dit_weights)
    assert loaded.module.config == DIT
    assert loaded.module.fp32_residual
    assert (loaded.dtype, loaded.spec.family.name) == (torch.float32, "tiny")
    assert not loaded.module.training
    assert not any(parameter.requires_grad for parameter in loaded.module.parameters())


@pytest.mark.parametrize("shift", [0, 8], ids=lambda shift: f"shifted by {shift}")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_in_the_file_compute_the_same_bits_as_weights_in_memory(tmp_path, dit_weights, dtype, shift) -> None:
    from wan_director.dit.inputs import DitInputs

    weights = {key: value.to(dtype) for key, value in dit_weights.items()}
    in_memory = WanDiT(DIT).to(dtype).eval()
    in_memory.load_state_dict(weights)
    metadata = {**TINY, "padding": " " * shift}  # moves the data by as many bytes
    in_file = load(kinds.DIT, _save(tmp_path / "x.safetensors", weights, metadata)).module
    generator = torch.Generator().manual_seed(1)
    latent, text = torch.randn(1, 16, 2, 6, 6, generator=generator), torch.randn(1, 512, 32, generator=generator)
    inputs = DitInputs(latent, torch.tensor([500.0]), text)
    with torch.no_grad():
        assert torch.equal(in_memory(inputs), in_file(inputs))


def test_a_diffusers_transformer_loads_and_computes_the_same(tmp_path: Path) -> None:
    from diffusers import WanTransformer3DModel
    from wan_director.dit.inputs import DitInputs

    theirs = WanTransformer3DModel(
        num_attention_heads=4,
        attention_head_dim=24,
        in_channels=36,
        text_dim=32,
        ffn_dim=160,
        num_layers=2,
        image_dim=48,
        added_kv_proj_dim=96,
        pos_embed_seq_len=34,
    ).eval()
    theirs.load_state_dict(_random(theirs))
    ours = load(kinds.DIT, _save(tmp_path / "x.safetensors", theirs.state_dict())).module
    generator = torch.Generator().manual_seed(1)
    latent, image = (torch.randn(1, channels, 2, 4, 4, generator=generator) for channels in (16, 20))
    text, clip = torch.randn(1, 512, 32, generator=generator), torch.randn(2, 17, 48, generator=generator)
    with torch.no_grad():
        expected = theirs(
            torch.cat([latent, image], 1),
            torch.tensor([500]),
            text,
            encoder_hidden_states_image=clip,
            return_dict=False,
        )[0]
        got = ours(DitInputs(latent, torch.tensor([500.0]), text, image, (ClipInput(clip.reshape(1, 34, 48)),)))
    assert (got - expected).abs().max() < 2e-5 * expected.abs().max()


@pytest.mark.parametrize("blocks", [1, 2])
def test_a_diffusers_vae_loads_and_computes_the_same(tmp_path: Path, blocks: int) -> None:
    from diffusers import AutoencoderKLWan

    theirs = AutoencoderKLWan(base_dim=8, num_res_blocks=blocks).eval()
    theirs.load_state_dict(_random(theirs))
    ours = load(kinds.VAE, _save(tmp_path / "x.safetensors", theirs.state_dict())).module
    video = torch.randn(1, 3, 5, 16, 16, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        latent = theirs.encode(video).latent_dist.mean
        torch.testing.assert_close(ours.encode(video), latent, atol=1e-5, rtol=1e-5)
        decoded = ours.decode(latent).clamp(-1, 1)  # theirs clamps
        torch.testing.assert_close(decoded, theirs.decode(latent).sample, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("prefix", ["", "model.", "vae."])
@pytest.mark.parametrize("ending", ["safetensors", "pth"])
def test_an_official_vae_loads_equal(tmp_path: Path, prefix: str, ending: str) -> None:
    weights, path = _random(_meta(CausalVAE, VAE)), tmp_path / f"vae.{ending}"
    named = {prefix + key: value for key, value in weights.items()}
    save_file(named, path) if ending == "safetensors" else torch.save(named, path)
    loaded = load(kinds.VAE, path)
    assert _same(loaded.module, weights)
    assert loaded.module.config == VAE


def _spiece() -> bytes:
    """A sentencepiece model with a handful of pieces: fields 1 (piece: text, score, type) of the protobuf."""

    def piece(text: str, kind: int, score: bytes = b"\0\0\0\0") -> bytes:
        body = b"\x0a" + bytes([len(text.encode())]) + text.encode() + b"\x15" + score + b"\x18" + bytes([kind])
        return b"\x0a" + bytes([len(body)]) + body

    special = piece("<pad>", 3) + piece("</s>", 3) + piece("<unk>", 2)
    return special + b"".join(piece(text, 1, b"\0\0\x80\xbf") for text in ("\u2581", "a", "b", "\u2581a"))


def _hf_names(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    renamed = {"norm.weight": "encoder.final_layer_norm.weight", "token_embedding.weight": "shared.weight"}
    parts = {
        "norm1.weight": "layer.0.layer_norm.weight",
        "norm2.weight": "layer.1.layer_norm.weight",
        "ffn.gate.0.weight": "layer.1.DenseReluDense.wi_0.weight",
        "ffn.fc1.weight": "layer.1.DenseReluDense.wi_1.weight",
        "ffn.fc2.weight": "layer.1.DenseReluDense.wo.weight",
        "pos_embedding.embedding.weight": "layer.0.SelfAttention.relative_attention_bias.weight",
        **{f"attn.{x}.weight": f"layer.0.SelfAttention.{x}.weight" for x in "qkvo"},
    }
    for layer in range(UMT5.layers):
        renamed |= {f"blocks.{layer}.{ours}": f"encoder.block.{layer}.{theirs}" for ours, theirs in parts.items()}
    return {renamed[key]: value for key, value in weights.items()}


@pytest.mark.parametrize("naming", ["official", "hf", "comfy"])
def test_text_encoders_load_equal(tmp_path: Path, naming: str) -> None:
    weights = _random(_meta(UMT5Encoder, UMT5))
    named = weights if naming == "official" else _hf_names(weights)
    spiece = torch.frombuffer(bytearray(_spiece()), dtype=torch.uint8)
    if naming == "comfy":
        named = {**named, "spiece_model": spiece}
    else:
        (tmp_path / "spiece.model").write_bytes(_spiece())
    loaded = load(kinds.TEXT_ENCODER, _save(tmp_path / "t5.safetensors", named))
    assert _same(loaded.module, weights)
    assert loaded.module.config == UMT5
    assert loaded.spec.naming == naming
    assert loaded.tokenizer.encode("a")[-1] == 1


def test_the_tokenizer_is_looked_for_in_the_official_folders(tmp_path: Path) -> None:
    path = _save(tmp_path / "t5.safetensors", _random(_meta(UMT5Encoder, UMT5)))
    with pytest.raises(MissingFileError, match="carries no tokenizer"):
        load(kinds.TEXT_ENCODER, path)
    folder = tmp_path / "google" / "umt5-xxl"
    folder.mkdir(parents=True)
    (folder / "spiece.model").write_bytes(_spiece())
    assert load(kinds.TEXT_ENCODER, path).tokenizer.vocab_size == 7


def test_a_tokenizer_larger_than_the_encoder_is_refused(tmp_path: Path) -> None:
    weights = _random(_meta(UMT5Encoder, UMT5)) | {"token_embedding.weight": torch.zeros(5, UMT5.dim)}
    (tmp_path / "spiece.model").write_bytes(_spiece())
    with pytest.raises(PairingError, match="has 7 pieces, but the encoder knows only 5"):
        load(kinds.TEXT_ENCODER, _save(tmp_path / "t5.safetensors", weights))


@pytest.mark.parametrize("prefix", ["", "visual."])
def test_an_official_clip_encoder_loads_equal(tmp_path: Path, prefix: str) -> None:
    weights = _random(_meta(ClipVisionEncoder, CLIP))
    named = {prefix + key: value for key, value in weights.items()}
    loaded = load(kinds.CLIP_VISION, _save(tmp_path / "clip.safetensors", {**named, "log_scale": torch.ones(1)}))
    assert _same(loaded.module, weights)
    assert loaded.module.config == CLIP


def test_a_hugging_face_clip_encoder_loads_and_computes_the_same(tmp_path: Path) -> None:
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    config = CLIPVisionConfig(
        hidden_size=64,
        intermediate_size=128,
        projection_dim=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=56,
        patch_size=14,
        hidden_act="gelu",
    )
    theirs = CLIPVisionModelWithProjection(config).eval()
    theirs.load_state_dict(_random(theirs))
    named = {**theirs.state_dict(), "vision_model.embeddings.position_ids": torch.arange(17)[None]}
    ours = load(kinds.CLIP_VISION, _save(tmp_path / "clip.safetensors", named)).module
    pixels = torch.randn(2, 3, 56, 56, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        expected, got = theirs(pixels, output_hidden_states=True), ours(pixels)
    torch.testing.assert_close(got.image_embeds, expected.image_embeds, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(got.penultimate_hidden_states, expected.hidden_states[-2], atol=1e-5, rtol=1e-5)


def test_a_split_model_loads_equal(tmp_path, dit_weights) -> None:
    keys = list(dit_weights)
    for part, names in enumerate((keys[:40], keys[40:]), start=1):
        _save(tmp_path / f"m-0000{part}-of-00002.safetensors", {key: dit_weights[key] for key in names})
    assert _same(load(kinds.DIT, tmp_path / "m-00001-of-00002.safetensors").module, dit_weights)


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
@pytest.mark.parametrize("stored", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_weights_are_cast_to_the_asked_precision(tmp_path, dit_weights, stored, precision: str) -> None:
    weights = {key: value.to(stored) for key, value in dit_weights.items()}
    loaded = load(kinds.DIT, _save(tmp_path / "x.safetensors", weights), precision=precision, **CPU)
    dtype = {"bf16": torch.bfloat16, "fp32": torch.float32}[precision]
    assert loaded.dtype == dtype
    assert _same(loaded.module, {key: value.to(dtype) for key, value in weights.items()})


def test_mixed_files_get_one_dtype(tmp_path, dit_weights) -> None:
    weights = {key: value if value.ndim == 1 else value.bfloat16() for key, value in dit_weights.items()}
    loaded = load(kinds.DIT, _save(tmp_path / "x.safetensors", weights))
    assert {parameter.dtype for parameter in loaded.module.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("precision", ["auto", "fp16"])
def test_fp16_becomes_fp32_on_a_cpu_and_is_told(tmp_path, dit_weights, precision: str, caplog) -> None:
    path = _save(tmp_path / "x.safetensors", {key: value.half() for key, value in dit_weights.items()})
    with caplog.at_level(logging.INFO, "wan_director"):
        assert load(kinds.DIT, path, precision=precision, **CPU).dtype == torch.float32
    assert "x.safetensors is loaded in fp32, because fp16 is about a thousand times slower" in caplog.text
    assert load(kinds.DIT, path, precision=precision, device="cuda").dtype == torch.float16


def test_an_unknown_precision_is_refused(tmp_path, dit_weights) -> None:
    with pytest.raises(InvalidInputError, match="The precision is one of auto, bf16, fp16, fp32, .*, got 'fp8'"):
        load(kinds.DIT, _save(tmp_path / "x.safetensors", dit_weights), precision="fp8")


@pytest.mark.parametrize("seed", range(5))
def test_missing_tensors_are_refused_by_count_and_name(tmp_path, dit_weights, seed: int) -> None:
    needed = {"patch_embedding.weight", "head.modulation", "head.head.weight", "text_embedding.0.weight"}
    needed |= {"time_embedding.0.weight", "blocks.0.self_attn.q.weight", "blocks.0.ffn.0.weight"}
    needed |= {"img_emb.proj.1.weight", "img_emb.emb_pos", "blocks.1.modulation"}
    optional = [key for key in dit_weights if key not in needed]
    picks = torch.randperm(len(optional), generator=torch.Generator().manual_seed(seed))[: seed + 1].tolist()
    dropped = {optional[pick] for pick in picks}
    path = _save(tmp_path / "x.safetensors", {key: value for key, value in dit_weights.items() if key not in dropped})
    with pytest.raises(CheckpointError, match=rf"lacks {len(dropped)} of the {len(dit_weights)} tensors") as error:
        load(kinds.DIT, path)
    assert sum(key in str(error.value) for key in dropped) == min(5, len(dropped))


@pytest.mark.parametrize("key", ["head.head.weight", "blocks.0.ffn.0.weight", "text_embedding.0.weight"])
def test_a_model_without_the_tensors_that_tell_its_size_is_refused(tmp_path, dit_weights, key: str) -> None:
    path = _save(tmp_path / "x.safetensors", {name: value for name, value in dit_weights.items() if name != key})
    with pytest.raises(CheckpointError, match=f"lacks the tensor '{key}'"):
        load(kinds.DIT, path)


def test_a_missing_block_is_refused(tmp_path, dit_weights) -> None:
    weights = {key.replace("blocks.1.", "blocks.3."): value for key, value in dit_weights.items()}
    with pytest.raises(CheckpointError, match=r"lacks 64 of the \d+ tensors .*blocks\.1\."):
        load(kinds.DIT, _save(tmp_path / "x.safetensors", weights))


@pytest.mark.parametrize("extra", ["blocks.0.extra.weight", "strange_encoder.0.weight", "strange_token"])
def test_a_transformer_with_parts_of_its_own_is_refused_not_run(tmp_path, dit_weights, extra: str) -> None:
    path = tmp_path / "x.safetensors"
    save_file({**dit_weights, extra: torch.ones(2)}, path, metadata=TINY)
    owner = extra.removesuffix(".weight")
    with pytest.raises(CheckpointError, match=f"has 1 tensors more than that .'{owner}'.: it is a variant of Wan not"):
        load(kinds.DIT, path, device="cpu")
    with pytest.raises(CheckpointError, match="it is a variant of Wan not known here, and without them"):
        outline(path, kinds.DIT)  # the plan says so, too


def test_unexpected_tensors_are_told_in_one_line(tmp_path, dit_weights, caplog) -> None:
    weights = {**dit_weights, "blocks.0.ffn.0.input_scale": torch.ones(1), "more": torch.ones(1)}
    with caplog.at_level(logging.WARNING, "wan_director"):
        loaded = load(kinds.DIT, _save(tmp_path / "x.safetensors", weights))
    assert _same(loaded.module, dit_weights)
    assert len(caplog.records) == 1
    assert "has 2 tensors that" in caplog.text
    assert "blocks.0.ffn.0.input_scale, more" in caplog.text


def test_a_wrong_shape_is_refused_by_name(tmp_path, dit_weights) -> None:
    weights = {**dit_weights, "blocks.1.ffn.0.weight": torch.zeros(160, 95)}
    with pytest.raises(
        CheckpointError, match=r"'blocks.1.ffn.0.weight' has the shape \[160, 95\], .* needs \[160, 96\]"
    ):
        load(kinds.DIT, _save(tmp_path / "x.safetensors", weights))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("place", [0, 7, -1])
def test_weights_that_are_no_numbers_are_refused_by_name(tmp_path, dit_weights, bad, dtype, place: int) -> None:
    weights = {key: value.to(dtype, copy=True) for key, value in dit_weights.items()}
    weights["blocks.1.ffn.2.weight"].view(-1)[place] = bad
    with pytest.raises(CheckpointError, match=r"'blocks.1.ffn.2.weight' holds values that are no numbers"):
        load(kinds.DIT, _save(tmp_path / "x.safetensors", weights))


def test_values_too_large_for_the_precision_are_refused(tmp_path, dit_weights) -> None:
    weights = dit_weights | {"blocks.0.ffn.0.bias": torch.full((160,), 1e6)}
    path = _save(tmp_path / "x.safetensors", weights)
    with pytest.raises(CheckpointError, match=r"'blocks.0.ffn.0.bias' has values too large for float16. Choose"):
        load(kinds.DIT, path, precision="fp16", device="cuda")
    assert load(kinds.DIT, path, precision="bf16").dtype == torch.bfloat16


def test_a_model_key_changes_with_the_file_and_the_options(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"1")
    key = model_key(path, "auto", "sdpa")
    assert key == model_key(str(path), "auto", "sdpa")
    assert hash(key) == hash(model_key(path, "auto", "sdpa"))
    assert key != model_key(path, "bf16", "sdpa")
    assert key != model_key(path, "auto", "flash")
    path.write_bytes(b"12")
    assert key != model_key(path, "auto", "sdpa")
    folder_key = model_key(tmp_path)
    (tmp_path / "y").write_bytes(b"1")
    assert folder_key != model_key(tmp_path)


@pytest.mark.parametrize("chosen", ["model.safetensors.index.json", "model-00001-of-00002.safetensors"])
def test_a_model_key_changes_with_every_part_of_a_split_model(tmp_path: Path, chosen: str) -> None:
    """Part 2 was downloaded again: the model of the old one is not to be used further."""
    for name in (
        "model.safetensors.index.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    ):
        (tmp_path / name).write_bytes(b"1")
    key = model_key(tmp_path / chosen)
    (tmp_path / "other.safetensors").write_bytes(b"1")
    assert key == model_key(tmp_path / chosen)
    (tmp_path / "model-00002-of-00002.safetensors").write_bytes(b"12")
    assert key != model_key(tmp_path / chosen)


def test_the_key_of_a_file_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"There is no file .*gone\.safetensors\. Check the name"):
        model_key(tmp_path / "gone.safetensors")
