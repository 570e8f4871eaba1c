"""A folder of tiny models with random weights, as ComfyUI keeps models, and a host that runs the nodes on it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import wan_director
from safetensors.torch import load_file, save_file
from torch import nn
from wan_director.audio_encoder.config import SpeechConfig, WhisperConfig
from wan_director.audio_encoder.encoder import build_audio_encoder
from wan_director.dit.branches.animate.face import FaceBranch
from wan_director.dit.branches.animate.motion import MotionSizes
from wan_director.dit.branches.animate.pose import AnimatePoseBranch
from wan_director.dit.branches.audio.dance import DanceBranch
from wan_director.dit.branches.audio.humo import HumoBranch
from wan_director.dit.branches.audio.past import PastBranch
from wan_director.dit.branches.audio.pose import SpeechPoseBranch
from wan_director.dit.branches.audio.speech import SpeechBranch
from wan_director.dit.branches.audio.still import StillBranch
from wan_director.dit.branches.audio.talk import TalkBranch
from wan_director.dit.branches.camera import CameraBranch
from wan_director.dit.branches.clip import ClipBranch
from wan_director.dit.branches.module import BranchModule
from wan_director.dit.branches.scail import ScailBranch
from wan_director.dit.branches.speed import SpeedBranch
from wan_director.dit.branches.uni3c import Uni3CBranch
from wan_director.dit.branches.vace import VaceBranch
from wan_director.dit.config import DiTConfig
from wan_director.dit.model import WanDiT
from wan_director.engine.local import LocalRuntime
from wan_director.nodes.headless.model_paths import models_in
from wan_director.nodes.hosts.command_line import HeadlessHost
from wan_director.nodes.hosts.host import use_host
from wan_director.text_encoder.clip_vision import ClipVisionConfig, ClipVisionEncoder
from wan_director.text_encoder.umt5 import UMT5Config, UMT5Encoder
from wan_director.vae3d.config import VAEConfig
from wan_director.vae3d.vae import CausalVAE

torch.set_num_threads(1)

TINY = {"wan_director.family": "tiny", "wan_director.heads": "4"}
HEADS = {"wan_director.heads": "4"}
HEARING = SpeechConfig(32, 48, 4, 2, conv_dims=(16,) * 7, position_kernel=16, position_groups=4)
SAID = SpeechConfig(8, 8, 4, 12, conv_dims=(16,) * 7, position_kernel=16, position_groups=4)
"""As many layers as InfiniteTalk hears."""
SPOKEN = WhisperConfig(8, 8, 4, 32, mels=16)
"""As many layers as HuMo hears."""
FACE = FaceBranch(1, MotionSizes((2,) * 8, style=6, linears=2, directions=3, features=8), width=8, tokens=2)
ANIMATE = (ClipBranch(64), AnimatePoseBranch(), FACE)
"""As of Wan-Animate, for a transformer of 5 layers; its encoder of faces takes pictures of the published size."""
CHANNELS_48 = {"in_channels": 48, "out_channels": 48}


def call(name: str, **inputs):
    """The outputs of a node; the output itself when there is one."""
    results = wan_director.NODE_CLASS_MAPPINGS[f"WanDirector{name}"].execute(**inputs).args
    return results[0] if len(results) == 1 else results


def load(name: str, **inputs):
    return call("LoadModel", model_name=name, precision="auto", attention="auto", **inputs)


def load_vae(name: str):
    return call("LoadVAE", vae_name=name, precision="auto")


def encode(name: str):
    encoder = call("LoadTextEncoder", text_encoder_name=name, precision="auto", device="auto")
    return call("TextEncode", text_encoder=encoder, positive="a red ball", negative="bad")


def picture(frames: int = 1, height: int = 48, width: int = 64) -> torch.Tensor:
    return torch.rand(frames, height, width, 3, generator=torch.Generator().manual_seed(frames))


def save_model(path: Path, module: nn.Module, metadata: dict[str, str], prefix: str = "", **extra) -> Path:
    """Writes a module whose weights are small, so that what it makes stays finite."""
    path.parent.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(len(path.name))
    weights = {
        prefix + name: 0.05 * torch.randn(value.shape, generator=generator) + float("norm" in name or "gamma" in name)
        for name, value in module.state_dict().items()
    }
    save_file({**weights, **extra}, path, metadata)
    return path


def save_gguf(path: Path, module: nn.Module) -> Path:
    """Writes a module's matrices as Q8_0, all with small weights; see `save_model`."""
    import gguf

    kind, generator = gguf.GGMLQuantizationType.Q8_0, torch.Generator().manual_seed(3)
    writer = gguf.GGUFWriter(path, "wan")
    for name, value in TINY.items():
        writer.add_string(name, value)
    for name, value in module.state_dict().items():
        weight = (0.05 * torch.randn(value.shape, generator=generator) + float("norm" in name)).numpy()
        if weight.ndim == 2 and weight.shape[-1] % 32 == 0:
            writer.add_tensor(name, gguf.quantize(weight, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def save_lora(path: Path, dim: int) -> Path:
    """Writes a LoRA for the random models of this width."""
    path.parent.mkdir(exist_ok=True)
    generator = torch.Generator().manual_seed(5)
    names = [f"diffusion_model.blocks.{block}.cross_attn.{layer}" for block in range(2) for layer in "kv"]
    factors = {"lora_A": (4, dim), "lora_B": (dim, 4)}
    save_file(
        {f"{name}.{key}.weight": 0.2 * torch.randn(shape, generator=generator)
         for name in names for key, shape in factors.items()},
        path,
    )  # fmt: skip
    return path


def in_form(form: str, models: Path):
    """A text-to-video model of GGUF, with a LoRA, or both, computing in fp32."""
    width = 64 if "gguf" in form else 48
    if "gguf" in form:
        save_gguf(models / "diffusion_models" / "quantised.gguf", dit(dim=width, ffn_dim=width))
    name = "quantised.gguf" if "gguf" in form else "t2v.safetensors"
    model = call("LoadModel", model_name=name, precision="fp32", attention="auto")
    if "lora" not in form:
        return model
    save_lora(models / "loras" / f"of_{width}.safetensors", width)
    settings = {"blocks": "all", "start_percent": 0.0, "end_percent": 1.0, "merge": False}
    return call("Lora", model=model, lora_name=f"of_{width}.safetensors", strength=1.0, **settings)


FORMS = ("gguf", "lora", "lora on gguf")


def dit(**changes) -> WanDiT:
    sizes = {"dim": 48, "ffn_dim": 64, "heads": 4, "layers": 2, "text_dim": 128, "text_tokens": 512, "freq_dim": 32}
    return WanDiT(DiTConfig(**{**sizes, **changes}))


HIGH, LOW = "a14b_high_noise.safetensors", "a14b_low_noise.safetensors"


def save_experts(models: Path) -> None:
    """Writes two files of one form, with other weights in each."""
    for seed, name in enumerate((HIGH, LOW)):
        torch.manual_seed(seed)
        weights = {
            key: 0.1 * torch.randn_like(value) + float("norm" in key) for key, value in dit().state_dict().items()
        }
        save_file(weights, models / "diffusion_models" / name, TINY)


def save_uni3c(path: Path) -> None:
    """Writes the Uni3C module for the models of this width, its attention named as in the published file."""
    branch = Uni3CBranch(2, dim=64, ffn_dim=80, embedded=48, mask_width=16)
    save_model(path, BranchModule(dit(text_dim=4096, branches=(branch,)).config), {})
    names = {f".self_attn.{part}.": f".self_attn.to_{part}." for part in "qkv"}
    names[".self_attn.o."] = ".self_attn.to_out.0."
    renamed = {}
    for key, value in load_file(path).items():
        for ours, published in names.items():
            key = key.replace(ours, published)
        renamed[key] = value
    save_file(renamed, path)


def tokenizer_json() -> str:
    """Bytes as pieces: any text can be encoded, one token per byte."""
    vocab = [["<pad>", 0.0], ["</s>", 0.0], ["<unk>", 0.0], *([f"<0x{byte:02X}>", 0.0] for byte in range(256))]
    model = {"type": "Unigram", "unk_id": 2, "vocab": vocab, "byte_fallback": True}
    return json.dumps({"version": "1.0", "added_tokens": [], "model": model})


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder: transformers t2v, i2v (with CLIP), vace, vace_module, speed_module (by themselves), and of the
    families of Wan wan21_t2v, wan21_i2v (as Wan 2.2, without CLIP), wan21_camera, wan21_scail, wan21_animate, s2v,
    humo, dancer, ti2v and lucy_edit; uni3c and infinitetalk; tiny, wan21 and wan22 VAEs; tiny and wan21 text encoders;
    audio encoders.
    """
    folder = tmp_path_factory.mktemp("models")
    token_bytes = torch.tensor(list(tokenizer_json().encode()), dtype=torch.uint8)
    vae = VAEConfig(base_channels=8, residual_blocks=1)
    save_model(folder / "diffusion_models" / "t2v.safetensors", dit(), TINY)
    save_model(
        folder / "diffusion_models" / "i2v.safetensors", dit(in_channels=36, branches=(ClipBranch(64),)), HEADS | TINY
    )
    save_model(folder / "diffusion_models" / "wan21_t2v.safetensors", dit(text_dim=4096), HEADS)
    save_model(folder / "diffusion_models" / "wan21_i2v.safetensors", dit(text_dim=4096, in_channels=36), HEADS)
    wan21_camera = dit(text_dim=4096, in_channels=36, branches=(CameraBranch(),))
    save_model(folder / "diffusion_models" / "wan21_camera.safetensors", wan21_camera, HEADS)
    wan21_scail = dit(text_dim=4096, in_channels=20, branches=(ClipBranch(1280), ScailBranch(mask_channels=28)))
    save_model(folder / "diffusion_models" / "wan21_scail.safetensors", wan21_scail, HEADS)
    speaking = (SpeechPoseBranch(), SpeechBranch(1, 32, 3), StillBranch(), PastBranch())
    save_model(folder / "diffusion_models" / "s2v.safetensors", dit(text_dim=4096, branches=speaking), HEADS)
    save_model(
        folder / "diffusion_models" / "humo.safetensors",
        dit(text_dim=4096, in_channels=36, branches=(HumoBranch(8),)),
        HEADS,
    )
    dancing = (ClipBranch(1280), DanceBranch(1, 32, 16, 1))
    save_model(
        folder / "diffusion_models" / "dancer.safetensors", dit(text_dim=4096, in_channels=36, branches=dancing), HEADS
    )
    save_model(folder / "audio_encoders" / "whisper.safetensors", build_audio_encoder(SPOKEN), HEADS)
    save_model(folder / "audio_encoders" / "wav2vec2_base.safetensors", build_audio_encoder(SAID), HEADS)
    save_model(folder / "audio_encoders" / "speech.safetensors", build_audio_encoder(HEARING), HEADS)
    wan21_animate = dit(text_dim=4096, in_channels=36, layers=5, branches=ANIMATE)
    save_model(folder / "diffusion_models" / "wan21_animate.safetensors", wan21_animate, HEADS)
    save_model(folder / "diffusion_models" / "ti2v.safetensors", dit(text_dim=4096, **CHANNELS_48), HEADS)
    lucy_edit = dit(text_dim=4096, in_channels=96, out_channels=48)
    save_model(folder / "diffusion_models" / "lucy_edit.safetensors", lucy_edit, HEADS)
    save_model(folder / "diffusion_models" / "vace.safetensors", dit(branches=(VaceBranch(2),)), TINY)
    module = BranchModule(dit(branches=(VaceBranch(2),)).config)
    save_model(folder / "diffusion_models" / "vace_module.safetensors", module, TINY)
    module = BranchModule(dit(branches=(SpeedBranch(),)).config).get_submodule("motion_controller")
    save_model(folder / "diffusion_models" / "speed_module.safetensors", module, TINY)
    save_uni3c(folder / "model_patches" / "uni3c.safetensors")
    talk = BranchModule(dit(text_dim=4096, branches=(TalkBranch(2, 8, 4, 16, 8),)).config)
    save_model(folder / "model_patches" / "infinitetalk.safetensors", talk, {})
    wan22_vae = replace(vae, latent_channels=48, patch_size=2, level_shortcuts=True)
    save_model(folder / "vae" / "wan22_vae.safetensors", CausalVAE(wan22_vae), {})
    save_model(folder / "vae" / "vae.safetensors", CausalVAE(vae), TINY)
    save_model(folder / "vae" / "wan21_vae.safetensors", CausalVAE(vae), {})
    for name, width, metadata in (("text", 128, TINY), ("wan21_text", 4096, {})):
        config = UMT5Config(vocab=259, dim=width, attention_dim=32, ffn_dim=32, heads=2, layers=1)
        path = folder / "text_encoders" / f"{name}.safetensors"
        save_model(path, UMT5Encoder(config), metadata, tokenizer_json=token_bytes)
    clip = ClipVisionConfig(image_size=56, dim=64, heads=4, layers=2, mlp_dim=64, embed_dim=32)
    save_model(folder / "clip_vision" / "clip.safetensors", ClipVisionEncoder(clip), TINY)
    return folder


@pytest.fixture
def tiny_host(models: Path, tmp_path: Path) -> HeadlessHost:
    """A host on those models, saving into a fresh folder; the host of the process for the test."""
    host = HeadlessHost(
        folders=models_in(models), inputs=(tmp_path,), output=tmp_path / "output", runtime=LocalRuntime("cpu")
    )
    use_host(host)
    return host


@pytest.fixture
def inference(tiny_host: HeadlessHost) -> Iterator[None]:
    """As both hosts run the nodes: on those models and without gradients."""
    with torch.inference_mode():
        yield
