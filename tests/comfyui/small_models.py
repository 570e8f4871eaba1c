"""Small models that the loaders of both sides take, with random weights, for one ComfyUI in one process."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece
import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection, UMT5Config, UMT5EncoderModel
from wan_director.dit.branches.clip import ClipBranch
from wan_director.dit.branches.vace import VaceBranch
from wan_director.dit.config import DiTConfig
from wan_director.dit.model import WanDiT
from wan_director.vae3d.config import VAEConfig
from wan_director.vae3d.vae import CausalVAE

WORDS = ["a", "cat", "dances", "on", "the", "moon", "in", "red", "and", "blue", "light", "blurry", "static"]
DITS: dict[str, dict[str, Any]] = {
    "t2v": {},
    "t2v_2": {},
    "i2v": {"in_channels": 36, "branches": (ClipBranch(1280),)},
    "i2v_high": {"in_channels": 36},
    "i2v_low": {"in_channels": 36},
    "vace": {"branches": (VaceBranch(2),)},
    "ti2v": {"in_channels": 48, "out_channels": 48},
}


def make_models(folder: Path, vae_channels: int) -> None:
    """Fills the `models` and `input` folders of a ComfyUI.

    Args:
        vae_channels: width of the VAE; older ComfyUI loads only the true one, 96.
    """
    for name in ("custom_nodes", "input", "output", "temp", "user/default"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    models = folder / "models"
    for kind in ("diffusion_models", "vae", "text_encoders", "clip_vision", "loras"):
        (models / kind).mkdir(parents=True, exist_ok=True)
    for seed, (name, changes) in enumerate(DITS.items()):
        _save_dit(models / "diffusion_models" / f"{name}.safetensors", seed, **changes)
    _save_quantised(models / "diffusion_models")
    save_vae(models / "vae", vae_channels)
    save_text_encoder(folder)
    _save_clip_vision(folder)
    _save_loras(models / "loras")
    generator = np.random.default_rng(1)
    for name in ("picture", "other"):
        Image.fromarray(generator.integers(0, 256, (80, 96, 3), dtype=np.uint8)).save(folder / "input" / f"{name}.png")


def random_weights(module: torch.nn.Module, seed: int, norms: tuple[str, ...]) -> dict[str, torch.Tensor]:
    """A state dict with small values, and near one where a norm multiplies."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(value.shape, generator=generator) * 0.05
        + float(any(norm in name for norm in norms) and not name.endswith("bias"))
        for name, value in module.state_dict().items()
    }


def _save_dit(path: Path, seed: int, **changes: Any) -> None:
    config = DiTConfig(dim=256, ffn_dim=256, heads=2, layers=2, **changes)
    with torch.device("meta"):
        network = WanDiT(config)
    save_file(random_weights(network, seed, ("norm", "img_emb.proj.0", "img_emb.proj.4")), path)


def _save_quantised(folder: Path) -> None:
    """The t2v model in bf16 and fp16, and in fp8 and int8 as ComfyUI stores them."""
    from safetensors.torch import load_file

    plain = load_file(folder / "t2v.safetensors")
    for name, dtype in (("bf16", torch.bfloat16), ("fp16", torch.float16)):
        save_file({key: value.to(dtype) for key, value in plain.items()}, folder / f"t2v_{name}.safetensors")
    for name in ("fp8", "int8"):
        tensors: dict[str, torch.Tensor] = {}
        for key, value in plain.items():
            tensors |= _quantised(key, value, name) if _is_matrix(key, value) else {key: value}
        save_file(tensors, folder / f"t2v_{name}.safetensors")
    scaled = {"scaled_fp8": torch.zeros(2, dtype=torch.float8_e4m3fn)}
    for key, value in plain.items():
        if not _is_matrix(key, value):
            scaled[key] = value.to(torch.bfloat16)
            continue
        scale = value.abs().max() / 448
        scaled |= {key: (value / scale).to(torch.float8_e4m3fn), key.removesuffix("weight") + "scale_weight": scale}
    save_file(scaled, folder / "t2v_scaled.safetensors")


def _is_matrix(key: str, value: torch.Tensor) -> bool:
    return key.startswith("blocks.") and key.endswith(".weight") and value.ndim == 2


def _quantised(key: str, value: torch.Tensor, kind: str) -> dict[str, torch.Tensor]:
    layer = key.removesuffix("weight")
    if kind == "fp8":
        scale = value.abs().max() / 448
        codes, form = (value / scale).to(torch.float8_e4m3fn), "float8_e4m3fn"
    else:
        scale = value.abs().max() / 127
        codes, form = (value / scale).round().to(torch.int8), "int8_tensorwise"
    marker = torch.tensor(list(json.dumps({"format": form}).encode()), dtype=torch.uint8)
    return {key: codes, layer + "weight_scale": scale.float(), layer + "comfy_quant": marker}


def save_vae(folder: Path, channels: int) -> None:
    """A VAE of Wan 2.1 of a width, and one of Wan 2.2."""
    config = VAEConfig(base_channels=channels)
    with torch.device("meta"):
        network = CausalVAE(config)
    save_file(random_weights(network, 9, ("gamma",)), folder / "vae.safetensors")
    wan22 = VAEConfig(base_channels=8, residual_blocks=1, latent_channels=48, patch_size=2, level_shortcuts=True)
    with torch.device("meta"):
        network = CausalVAE(wan22)
    save_file(random_weights(network, 10, ("gamma",)), folder / "wan22_vae.safetensors")


def save_text_encoder(folder: Path) -> None:
    """A UMT5 of the true width with two layers, and its sizes in a file beside the models."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([" ".join(WORDS[i:] + WORDS[:i]) for i in range(len(WORDS))]), model_writer=model,
        vocab_size=300, model_type="unigram", byte_fallback=True, pad_id=0, eos_id=1, unk_id=2, bos_id=-1,
        hard_vocab_limit=False, num_threads=1, minloglevel=9,
    )  # fmt: skip
    sizes = {"d_model": 4096, "d_ff": 32, "d_kv": 16, "num_heads": 2, "num_layers": 2, "vocab_size": 320}
    network = UMT5EncoderModel(UMT5Config(**sizes, feed_forward_proj="gated-gelu"))
    weights = random_weights(network, 11, ("layer_norm",))
    weights.pop("encoder.embed_tokens.weight", None)
    for name, weight in weights.items():  # at T5's own scale: larger ones blow rounding up to 9e-6 of float64's result
        if weight.ndim == 2 and "bias" not in name and "shared" not in name:
            weight *= 20 / weight.shape[1] ** 0.5
        if name.endswith("SelfAttention.q.weight"):  # its attention is divided by nothing: q is
            weight /= sizes["d_kv"] ** 0.5
    weights["spiece_model"] = torch.tensor(list(model.getvalue()), dtype=torch.uint8)
    save_file(weights, folder / "models" / "text_encoders" / "text.safetensors")
    (folder / "text_sizes.json").write_text(json.dumps(sizes))


def _save_clip_vision(folder: Path) -> None:
    sizes = {
        "hidden_size": 1280, "image_size": 28, "intermediate_size": 64, "num_attention_heads": 16,
        "num_hidden_layers": 3, "patch_size": 14, "projection_dim": 32, "hidden_act": "gelu",
    }  # fmt: skip
    network = CLIPVisionModelWithProjection(CLIPVisionConfig(**sizes))
    weights = random_weights(network, 12, ("norm",))
    weights = {name: value for name, value in weights.items() if "position_ids" not in name}
    save_file({_projected(name): value for name, value in weights.items()},
              folder / "models" / "clip_vision" / "clip_vision.safetensors")  # fmt: skip
    own = {"model_type": "clip_vision_model", "num_channels": 3, "layer_norm_eps": 1e-5}
    (folder / "clip_sizes.json").write_text(json.dumps({**sizes, **own}))


def _projected(name: str) -> str:
    return name


def _save_loras(folder: Path) -> None:
    """Each form that native loaders read, on a layer or two."""
    generator = torch.Generator().manual_seed(13)

    def made(*shape: int, size: float = 0.5) -> torch.Tensor:
        return torch.randn(shape, generator=generator) * size

    q, ffn = "diffusion_model.blocks.0.self_attn.q", "diffusion_model.blocks.1.ffn.0"
    loras = {
        "lora": {
            f"{q}.lora_down.weight": made(4, 256), f"{q}.lora_up.weight": made(256, 4), f"{q}.alpha": torch.tensor(2.0),
            f"{ffn}.lora_down.weight": made(8, 256), f"{ffn}.lora_up.weight": made(256, 8),
        },
        "second": {f"{q}.lora_A.weight": made(2, 256), f"{q}.lora_B.weight": made(256, 2)},
        "loha": {
            f"{q}.hada_w1_a": made(256, 4), f"{q}.hada_w1_b": made(4, 256), f"{q}.hada_w2_a": made(256, 4, size=0.1),
            f"{q}.hada_w2_b": made(4, 256), f"{q}.alpha": torch.tensor(1.0),
        },
        "lokr": {
            f"{q}.lokr_w1": made(4, 4), f"{q}.lokr_w2_a": made(64, 4), f"{q}.lokr_w2_b": made(4, 64, size=0.1),
            f"{q}.alpha": torch.tensor(4.0),
        },
        "diff": {
            f"{q}.diff": made(256, 256, size=0.05), f"{q}.diff_b": made(256),
            "diffusion_model.blocks.0.norm3.diff": made(256, size=0.2),
        },
        "dora": {
            f"{q}.lora_down.weight": made(4, 256), f"{q}.lora_up.weight": made(256, 4), f"{q}.alpha": torch.tensor(4.0),
            f"{q}.dora_scale": made(256, 1).abs() + 0.5,
        },
        "glora": {
            f"{q}.a1.weight": made(4, 256), f"{q}.a2.weight": made(256, 4), f"{q}.b1.weight": made(4, 256),
            f"{q}.b2.weight": made(256, 4),
        },
    }  # fmt: skip
    for name, tensors in loras.items():
        save_file(tensors, folder / f"{name}.safetensors")
