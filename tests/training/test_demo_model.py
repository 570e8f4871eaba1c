"""The bundled demo model: what is in the files, and that it makes what the prompt says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from wan_director.common.families import TINY
from wan_director.dit.inputs import DitInputs
from wan_director.nodes.text import OFFICIAL_NEGATIVE
from wan_director.text_encoder.tokenizer import Tokenizer
from wan_director.training.captions import WAN_NEGATIVE
from wan_director.training.evaluate import DemoModel, Trial, run_trial
from wan_director.training.export import FILES
from wan_director.training.scenes import render, sample_scene

MODELS = Path(__file__).parents[2] / "models"


@pytest.fixture(scope="module")
def demo() -> DemoModel:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # several threads wait for each other on a busy machine
    yield DemoModel(MODELS)
    torch.set_num_threads(threads)


def test_all_files_together_take_at_most_20_mb():
    assert sum(path.stat().st_size for path in MODELS.rglob("*") if path.is_file()) <= 20_000_000


@pytest.mark.parametrize("name", FILES.values())
def test_files_say_that_they_are_the_demo(name):
    with safe_open(MODELS / name, "pt") as file:
        assert file.metadata()["wan_director.family"] == TINY.name
    assert "tiny_demo" in name


def test_embedded_tokenizer_reads_prompts_without_unknown_pieces():
    with safe_open(MODELS / FILES["text_encoder"], "pt") as file:
        tokenizer = Tokenizer.from_spiece(file.get_tensor("spiece_model").numpy().tobytes())
    ids = tokenizer.encode("a red circle moves to the right on a white background")
    assert ids[-1] == tokenizer.end_id == 1
    assert len(ids) < 20
    assert 2 not in ids
    assert 2 not in tokenizer.encode(WAN_NEGATIVE)


def test_negative_prompt_of_the_evaluation_is_that_of_the_nodes():
    assert WAN_NEGATIVE == OFFICIAL_NEGATIVE


def test_raw_latents_have_the_statistics_of_wan(demo):
    rng = np.random.default_rng(9)
    video = render([sample_scene(rng) for _ in range(32)], 9, 64, 64)
    with torch.no_grad():
        latent = TINY.normalize(demo.vae.encode(video))
    assert latent.mean((0, 2, 3, 4)).abs().max() < 0.5
    assert ((latent.std((0, 2, 3, 4)) > 0.6) & (latent.std((0, 2, 3, 4)) < 1.5)).all()


def test_reconstructions_are_good(demo):
    rng = np.random.default_rng(10)
    video = render([sample_scene(rng, held_out=True) for _ in range(4)], 17, 64, 64)
    with torch.no_grad():
        error = (demo.vae.decode(demo.vae.encode(video)) - video).square().mean()
    assert 10 * torch.log10(4 / error) > 33


def test_text_to_video_file_is_the_image_file_without_an_image(demo):
    inputs = DitInputs(torch.randn(1, 16, 2, 8, 8), torch.tensor([600.0]), demo.encode_text("a red circle")[:, :32])
    with torch.no_grad():
        assert torch.equal(demo.t2v(inputs), demo.i2v(inputs))


def test_text_to_video_shows_what_the_prompt_says(demo):
    scores, _ = run_trial(demo, Trial("", 24, seed=99))
    assert sum(score.all_right for score in scores) >= 22
    assert sum(score.right("colour") and score.right("background") for score in scores) >= 23
    assert sum(score.finding.strict_shape == score.scene.shape for score in scores) >= 19


def test_image_to_video_keeps_the_image_and_follows_the_prompt(demo):
    scores, _ = run_trial(demo, Trial("", 8, given=(0,), seed=98, cfg=2.0))
    assert sum(score.all_right for score in scores) >= 7
    assert np.mean([score.psnr[0] for score in scores]) > 33


def test_first_and_last_frame_are_kept(demo):
    scores, _ = run_trial(demo, Trial("", 8, given=(0, -1), seed=97, cfg=2.0))
    assert sum(score.all_right for score in scores) >= 7
    assert np.mean([score.psnr for score in scores], axis=0).min() > 26
