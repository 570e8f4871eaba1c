"""Whole videos of InfiniteTalk, node and sampler, against those of ComfyUI 0.33.0 on the same weights (recorded)."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from wan_director.dit.branches.audio.talk import TalkBranch
from wan_director.dit.branches.module import BranchModule
from wan_director.dit.config import DiTConfig
from wan_director.dit.model import WanDiT
from wan_director.engine.local import LocalRuntime
from wan_director.nodes.headless.core_nodes import CORE_NODES
from wan_director.nodes.headless.model_paths import models_in
from wan_director.nodes.hosts.command_line import HeadlessHost
from wan_director.nodes.hosts.host import use_host

from ..conftest import call

FIXTURES = Path(__file__).parents[2] / "dit" / "fixtures"
SMALL = runpy.run_path(str(FIXTURES / "talk_models.py"))
EXPECTED = load_file(FIXTURES / "talk_outputs.safetensors")
FRAMES, HEIGHT, WIDTH = 4 * SMALL["SHAPE"][0] - 3, *(8 * side for side in SMALL["SHAPE"][1:])
HEADS = {"wan_director.heads": str(SMALL["SIZES"]["heads"])}


class Still:
    """A VAE that gives the recorded latents, which no run decodes."""

    latent_channels, latent_dim = 16, 3

    def encode(self, pixels):
        return SMALL["encoded"](len(pixels))

    def spacial_compression_encode(self):
        return 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with ComfyUI's small model and its layers that hear."""
    folder = tmp_path_factory.mktemp("models")
    config = DiTConfig(**SMALL["RUN_SIZES"], in_channels=SMALL["CHANNELS"])
    module = BranchModule(config.with_branches((TalkBranch(config.layers, **SMALL["TALK"]),)))
    for place, part in (("diffusion_models/i2v", WanDiT(config)), ("model_patches/talk", module)):
        (folder / place).parent.mkdir()
        shapes = {key: tuple(value.shape) for key, value in part.state_dict().items()}
        save_file(SMALL["random_like"](shapes), folder / f"{place}.safetensors", HEADS)
    return folder


@pytest.fixture
def heard(folder, tmp_path):
    """What is heard of both sounds, where the nodes run on those models."""
    use_host(HeadlessHost(models_in(folder), (tmp_path,), tmp_path / "output", LocalRuntime("cpu")))
    with torch.inference_mode():
        yield [{"encoded_audio_all_layers": SMALL["random_layers"](sound)} for sound in range(2)]


def given(run, heard, names: tuple[str, ...]):
    """The sound, its partner and the masks of a run by these names, and the frames before, if any."""
    masks = SMALL["random_inputs"]().masks
    second = dict(zip(names, (heard[1], masks[:1], masks[1:]))) if run.people == 2 else {}
    before = torch.rand(run.start + 5, HEIGHT, WIDTH, 3) if run.start else None
    return second, before


def assert_same(made, name: str) -> None:
    """Of float32 sums over some steps."""
    found, expected = made["samples"], EXPECTED[f"run {name}"]
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize("name", SMALL["RUNS"])
def test_a_whole_run_equals_comfyuis(name, heard):
    """The first frame too, which is what the model makes of the picture, and frames before, which are kept."""
    run, prompt = SMALL["RUNS"][name], [[SMALL["random_text"](), {}]]
    second, before = given(run, heard, ("audio_2", "mask_1", "mask_2"))
    module = call("LoadInfiniteTalk", infinitetalk_name="talk.safetensors")
    model = call("LoadModel", model_name="i2v.safetensors", precision="fp32", attention="sdpa", module=module)
    positive, negative, latent, _ = call(
        "InfiniteTalk", positive=prompt, negative=prompt, vae=Still(), width=WIDTH, height=HEIGHT, frames=FRAMES,
        batch_size=1, fit="crop", audio_scale=1.0, speakers="one after the other", motion_frames=5,
        start_image=torch.rand(1, HEIGHT, WIDTH, 3), audio=heard[0], previous_frames=before, **second,
    )  # fmt: skip
    made = call(
        "Sampler", model=model, positive=positive, negative=negative, latent=latent, seed=SMALL["SEED"],
        steps=run.steps, cfg=1.0, shift=SMALL["SHIFT"], solver=run.solver, schedule=SMALL["SCHEDULE"],
        denoise=1.0,
    )  # fmt: skip
    assert_same(made, name)


@pytest.mark.parametrize("name", SMALL["RUNS"])
def test_comfyuis_own_nodes_on_the_command_line_make_the_same(name, heard):
    run, prompt = SMALL["RUNS"][name], [[SMALL["random_text"](), {}]]
    second, before = given(run, heard, ("audio_encoder_output_2", "mask_1", "mask_2"))
    (model,) = CORE_NODES["UNETLoader"].execute("i2v.safetensors", "default").args
    (patch,) = CORE_NODES["ModelPatchLoader"].execute("talk.safetensors").args
    mode = {"mode": ("single_speaker", "two_speakers")[run.people - 1], **second}
    talking, positive, negative, latent, _ = CORE_NODES["WanInfiniteTalkToVideo"].execute(
        mode, model, patch, prompt, prompt, Still(), WIDTH, HEIGHT, FRAMES, heard[0], 5, 1.0,
        start_image=torch.rand(1, HEIGHT, WIDTH, 3), previous_frames=before,
    ).args  # fmt: skip
    made = CORE_NODES["KSampler"].execute(
        talking, SMALL["SEED"], run.steps, 1.0, run.solver, SMALL["SCHEDULE"], positive, negative, latent, 1.0
    )  # fmt: skip
    assert_same(made.args[0], name)
