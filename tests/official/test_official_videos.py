"""Whole videos, from the prompt's embedding to frames, against the unmodified official `generate()` of Wan 2.1 and 2.2.

`fixtures/make_official_videos.py` made the records from the official repositories; both sides take the tiny models and
inputs of `fixtures/recipe.py`. Here everything goes through files and nodes, as a user's graph does.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path

import pytest
import torch
import wan_director
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from wan_director.dit.branches.clip import ClipBranch
from wan_director.dit.branches.vace import VaceBranch
from wan_director.dit.config import DiTConfig
from wan_director.dit.model import WanDiT
from wan_director.engine.local import LocalRuntime
from wan_director.nodes.headless.model_paths import models_in
from wan_director.nodes.hosts.command_line import HeadlessHost
from wan_director.nodes.hosts.host import use_host
from wan_director.text_encoder.clip_vision import ClipVisionConfig, ClipVisionEncoder
from wan_director.vae3d.config import VAEConfig
from wan_director.vae3d.vae import CausalVAE

FIXTURES = Path(__file__).parent / "fixtures"
spec = importlib.util.spec_from_file_location("official_recipe", FIXTURES / "recipe.py")
recipe = importlib.util.module_from_spec(spec)
spec.loader.exec_module(recipe)

LIMIT = 1e-5
OURS = {"unipc": ("unipc", "official"), "dpm++": ("dpmpp_2m", "official_dpm")}


@cache
def videos() -> dict[str, Tensor]:
    return load_file(FIXTURES / "official_videos.safetensors")


def call(name: str, **inputs):
    """The outputs of a node; the output itself when there is one."""
    results = wan_director.NODE_CLASS_MAPPINGS[f"WanDirector{name}"].execute(**inputs).args
    return results[0] if len(results) == 1 else results


def transformer(case) -> WanDiT:
    sizes = {key: recipe.DIT[key] for key in ("dim", "ffn_dim", "freq_dim", "text_dim")}
    with_clip = case.release == "2.1" and case.model in ("i2v", "flf2v")
    clip = (ClipBranch(recipe.CLIP["dim"], 514 if case.model == "flf2v" else None),) if with_clip else ()
    vace = (VaceBranch(2),) if case.model == "vace" else ()
    return WanDiT(
        DiTConfig(
            **sizes,
            heads=recipe.DIT["num_heads"],
            layers=4 if case.model == "vace" else recipe.DIT["num_layers"],
            in_channels=recipe.IMAGE_CHANNELS.get(case.model, 16),
            out_channels=48 if case.model == "ti2v" else 16,
            branches=(*clip, *vace),
        )
    )


def autoencoder(case) -> CausalVAE:
    form = {"latent_channels": 48, "patch_size": 2, "level_shortcuts": True} if case.model == "ti2v" else {}
    return CausalVAE(VAEConfig(base_channels=recipe.VAE["dim"], residual_blocks=1, **form))


def clip_vision() -> ClipVisionEncoder:
    sizes = {key: recipe.CLIP[key] for key in ("image_size", "dim")}
    mlp_dim = int(recipe.CLIP["dim"] * recipe.CLIP["mlp_ratio"])
    return ClipVisionEncoder(ClipVisionConfig(**sizes, layers=recipe.CLIP["num_layers"], mlp_dim=mlp_dim, embed_dim=32))


class Graph:
    """The nodes of a user who makes one of the cases."""

    def __init__(self, case, folder: Path) -> None:
        self.case, self.folder = case, folder
        self.text = [[[recipe.prompt(count)[None], {}]] for count in (recipe.PROMPT_TOKENS, recipe.NEGATIVE_TOKENS)]
        use_host(
            HeadlessHost(folders=models_in(folder), inputs=(), output=folder / "output", runtime=LocalRuntime("cpu"))
        )

    def save(self, kind: str, name: str, module: nn.Module, seed: int) -> str:
        (self.folder / kind).mkdir(exist_ok=True)
        state = recipe.fill(module, seed).state_dict()
        save_file(state, self.folder / kind / name, {"wan_director.heads": str(recipe.HEADS)})
        return name

    def model(self, seed: int = 10):
        name = self.save("diffusion_models", f"{self.case.model}_{seed}.safetensors", transformer(self.case), seed)
        return call("LoadModel", model_name=name, precision="fp32", attention="sdpa")

    def experts(self):
        high, low = (self.model(seed) for seed in (10, 11))
        return call("Experts", high_noise=high, low_noise=low, low_noise_cfg=self.case.guidance[1], high_noise_steps=0)

    def vae(self):
        name = self.save("vae", "vae.safetensors", autoencoder(self.case), 1)
        return call("LoadVAE", vae_name=name, precision="fp32")

    def pictures(self) -> list[Tensor]:
        return [recipe.picture(self.case, number)[None].float() / 255 for number in range(2)]

    def clip_features(self) -> dict:
        """Of the start image, and of the end image where there is one."""
        module = recipe.fill(clip_vision(), 2)
        (self.folder / "clip_vision").mkdir(exist_ok=True)
        save_file(module.state_dict(), self.folder / "clip_vision" / "clip.safetensors")
        loader = call("LoadClipVision", clip_vision_name="clip.safetensors")
        count = 2 if self.case.model == "flf2v" else 1
        names = ("clip_vision_start", "clip_vision_end")[:count]
        return {
            name: call("ClipVisionEncode", clip_vision=loader, image=picture)
            for name, picture in zip(names, self.pictures())
        }

    def prepared(self, name: str, vae) -> tuple:
        """The two prompts with what else the model is given, and the latent."""
        case = self.case
        size = {"vae": vae, "width": case.width, "height": case.height, "frames": case.frames, "batch_size": 1}
        sides = dict(zip(("positive", "negative"), self.text))
        start, end = self.pictures()
        if case.model == "vace":
            video = recipe.clip(case, case.frames).float() / 255
            given = {"control_video": video, "control_masks": recipe.soft_mask(case), "reference_image": end}
            return call("Vace", **sides, **size, strength=1.0, **given)[:3]
        if case.model == "t2v" or name == "ti2v text 2.2":
            return (*self.text, call("EmptyLatent", **size))
        given = {"start_image": start} | ({"end_image": end} if case.model == "flf2v" else {})
        if case.release == "2.1":
            given |= self.clip_features()
        return call("ImageToVideo", **sides, **size, fit="stretch", **given)

    def video(self, name: str, solver: str) -> Tensor:
        case, vae = self.case, self.vae()
        positive, negative, latent = self.prepared(name, vae)
        model = self.experts() if case.release == "2.2" and case.model != "ti2v" else self.model()
        solver, schedule = OURS[solver]
        sampled = call(
            "Sampler", model=model, positive=positive, negative=negative, latent=latent, seed=recipe.SEED,
            steps=recipe.STEPS, cfg=case.guidance[0], shift=recipe.SHIFT, solver=solver, schedule=schedule, denoise=1.0,
        )  # fmt: skip
        return call("Decode", vae=vae, latent=sampled)


@pytest.mark.parametrize("solver", recipe.SOLVERS)
@pytest.mark.parametrize("name", recipe.CASES)
def test_the_video_is_that_of_the_official_code(name, solver, tmp_path):
    case = recipe.CASES[name]
    with torch.inference_mode():
        video = Graph(case, tmp_path).video(name, solver)
    assert video.shape == (case.frames, case.height, case.width, 3)
    expected = videos()[f"{name} {solver}"]
    assert expected.std() > 0.02  # it shows something
    assert float((recipe.sample_of(video) - expected).abs().max()) <= LIMIT
