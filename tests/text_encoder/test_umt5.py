"""The text encoder equals transformers' UMT5, keeps the official keys, and survives half precision."""

from __future__ import annotations

import pytest
import torch
from transformers import UMT5Config as ReferenceConfig
from transformers import UMT5EncoderModel
from wan_director.text_encoder.umt5 import UMT5_XXL, UMT5Config, UMT5Encoder, distance_buckets

SMALL = UMT5Config(vocab=120, dim=64, attention_dim=96, ffn_dim=160, heads=6, layers=3)
TOLERANCE = 3e-6  # of the largest value; peers agree to 0.3e-6 ... 0.6e-6 in float32

RENAMED = {
    "attn.q": "layer.0.SelfAttention.q",
    "attn.k": "layer.0.SelfAttention.k",
    "attn.v": "layer.0.SelfAttention.v",
    "attn.o": "layer.0.SelfAttention.o",
    "pos_embedding.embedding": "layer.0.SelfAttention.relative_attention_bias",
    "norm1": "layer.0.layer_norm",
    "norm2": "layer.1.layer_norm",
    "ffn.gate.0": "layer.1.DenseReluDense.wi_0",
    "ffn.fc1": "layer.1.DenseReluDense.wi_1",
    "ffn.fc2": "layer.1.DenseReluDense.wo",
}


def make_encoder(config: UMT5Config = SMALL, seed: int = 0) -> UMT5Encoder:
    torch.manual_seed(seed)
    encoder = UMT5Encoder(config).eval().requires_grad_(False)
    for name, parameter in encoder.named_parameters():
        if "norm" in name:
            parameter.copy_(1 + 0.2 * torch.randn_like(parameter))
    return encoder


def make_reference(encoder: UMT5Encoder) -> UMT5EncoderModel:
    config = encoder.config
    reference = UMT5EncoderModel(
        ReferenceConfig(
            vocab_size=config.vocab,
            d_model=config.dim,
            d_kv=config.attention_dim // config.heads,
            d_ff=config.ffn_dim,
            num_layers=config.layers,
            num_heads=config.heads,
            relative_attention_num_buckets=config.buckets,
            relative_attention_max_distance=config.max_distance,
            feed_forward_proj="gated-gelu",
            dropout_rate=0.0,
        )
    ).eval()
    state = encoder.state_dict()
    embedding = state.pop("token_embedding.weight")
    renamed = {"shared.weight": embedding, "encoder.final_layer_norm.weight": state.pop("norm.weight")}
    for key, value in state.items():
        _, number, *inner, weight = key.split(".")
        renamed[f"encoder.block.{number}.{RENAMED['.'.join(inner)]}.{weight}"] = value
    missing, unexpected = reference.load_state_dict(renamed, strict=False)
    assert not unexpected and set(missing) <= {"encoder.embed_tokens.weight"}
    return reference


def relative_max(ours: torch.Tensor, reference: torch.Tensor) -> float:
    return ((ours - reference).abs().max() / reference.abs().max()).item()


@pytest.mark.parametrize("length", [1, 2, 9, 150])
def test_encoder_equals_transformers(length):
    encoder = make_encoder()
    ids = torch.randint(0, SMALL.vocab, (2, length), generator=torch.Generator().manual_seed(length))
    with torch.no_grad():
        reference = make_reference(encoder)(input_ids=ids).last_hidden_state
    assert relative_max(encoder(ids), reference) < TOLERANCE


def test_masked_batch_equals_transformers():
    encoder = make_encoder(seed=1)
    ids = torch.randint(0, SMALL.vocab, (3, 40), generator=torch.Generator().manual_seed(5))
    mask = (torch.arange(40) < torch.tensor([[40], [17], [1]])).long()
    with torch.no_grad():
        reference = make_reference(encoder)(input_ids=ids, attention_mask=mask).last_hidden_state
    ours = encoder(ids, mask)
    assert relative_max(ours * mask[..., None], reference * mask[..., None]) < TOLERANCE


def test_encoding_real_tokens_equals_encoding_padded_tokens():
    encoder = make_encoder(seed=2)
    ids = torch.randint(1, SMALL.vocab, (1, 23), generator=torch.Generator().manual_seed(6))
    padded = torch.nn.functional.pad(ids, (0, 64 - 23))
    alone = encoder(ids)
    assert relative_max(alone, encoder(padded, torch.arange(64)[None] < 23)[:, :23]) < TOLERANCE


def test_row_of_padding_only_is_finite():
    encoder = make_encoder()
    assert torch.isfinite(encoder(torch.zeros(1, 4, dtype=torch.long), torch.zeros(1, 4))).all()


def test_distance_buckets_have_the_published_edges():
    buckets = distance_buckets(200, 32, 128)
    behind = {distance: buckets[199 - distance].item() for distance in (0, 1, 7, 8, 15, 16, 31, 32, 64, 127, 128, 199)}
    ahead = {distance: buckets[199 + distance].item() - 16 for distance in (1, 7, 8, 15, 16, 31, 32, 64, 127, 128, 199)}
    expected = {0: 0, 1: 1, 7: 7, 8: 8, 15: 9, 16: 10, 31: 11, 32: 12, 64: 14, 127: 15, 128: 15, 199: 15}
    assert behind == expected
    assert ahead == {distance: bucket for distance, bucket in expected.items() if distance}


def test_xxl_has_the_official_tensors():
    with torch.device("meta"):
        state = UMT5Encoder(UMT5_XXL).state_dict()
    assert len(state) == 242
    assert sum(tensor.numel() for tensor in state.values()) == 5_680_910_336
    shapes = {key: tuple(tensor.shape) for key, tensor in state.items() if key.startswith("blocks.23.")}
    assert shapes == {
        "blocks.23.norm1.weight": (4096,),
        "blocks.23.attn.q.weight": (4096, 4096),
        "blocks.23.attn.k.weight": (4096, 4096),
        "blocks.23.attn.v.weight": (4096, 4096),
        "blocks.23.attn.o.weight": (4096, 4096),
        "blocks.23.norm2.weight": (4096,),
        "blocks.23.ffn.gate.0.weight": (10240, 4096),
        "blocks.23.ffn.fc1.weight": (10240, 4096),
        "blocks.23.ffn.fc2.weight": (4096, 10240),
        "blocks.23.pos_embedding.embedding.weight": (32, 64),
    }
    assert state["token_embedding.weight"].shape == (256384, 4096)
    assert state["norm.weight"].shape == (4096,)


@pytest.mark.parametrize(("dtype", "limit"), [(torch.bfloat16, 1e-2), (torch.float16, 2e-3)])
def test_half_precision_stays_near_float32(dtype, limit):
    encoder = make_encoder(UMT5Config(vocab=120, dim=128, attention_dim=128, ffn_dim=256, heads=4, layers=6), seed=3)
    ids = torch.randint(0, 120, (1, 30), generator=torch.Generator().manual_seed(7))
    exact = encoder(ids)
    half = encoder.to(dtype)(ids)
    assert half.dtype == torch.float32
    assert ((half - exact).norm() / exact.norm()).item() < limit


def test_float16_survives_products_beyond_its_range():
    encoder = make_encoder(seed=4)
    for block in encoder.blocks:
        for linear in (block.ffn.gate[0], block.ffn.fc1):
            linear.weight.mul_(2000)
    ids = torch.arange(1, 12)[None]
    exact = encoder(ids)
    assert encoder.blocks[0].ffn.fc1(encoder.token_embedding(ids)).abs().max() > 1000
    half = encoder.half()(ids)
    assert torch.isfinite(half).all()
    assert ((half - exact).norm() / exact.norm()).item() < 1e-2


def test_every_parameter_receives_a_gradient():
    encoder = make_encoder().requires_grad_(True)
    ids = torch.randint(0, SMALL.vocab, (2, 40), generator=torch.Generator().manual_seed(8))
    mask = torch.arange(40) < torch.tensor([[40], [30]])
    encoder(ids, mask)[mask].square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in encoder.parameters())
