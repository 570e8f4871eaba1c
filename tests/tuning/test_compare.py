"""`compare`: a sheet of the same seeds with a LoRA at several strengths, whose first column is the base to the bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from wan_director.__main__ import main
from wan_director.media.contact_sheet import SheetNames, contact_sheet
from wan_director.media.picture_reading import read_pictures
from wan_director.media.video_reading import probe_video

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "models/diffusion_models/wan_director_tiny_demo_t2v.safetensors"
FEW = ["--set", "WanDirectorSampler.steps=2", "--set", "WanDirectorEmptyLatent.frames=1", "--device", "cpu", "--quiet"]


@pytest.fixture(scope="module")
def lora(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("trained") / "mine.safetensors"
    generator = torch.Generator().manual_seed(3)
    tensors = {}
    for name, weight in load_file(MODEL).items():
        if name.endswith("self_attn.q.weight"):
            out, inner = weight.shape
            layer = f"diffusion_model.{name.removesuffix('.weight')}"
            tensors[f"{layer}.lora_A.weight"] = 0.3 * torch.randn(2, inner, generator=generator)
            tensors[f"{layer}.lora_B.weight"] = 0.3 * torch.randn(out, 2, generator=generator)
    save_file(tensors, path)
    return path


def test_the_first_column_is_the_base_to_the_bit(lora, tmp_path, capsys):
    words = [
        "compare",
        "tiny_t2v",
        str(lora),
        "--seeds",
        "7,8",
        "--strengths",
        "0,1",
        "--output",
        str(tmp_path / "out"),
    ]
    assert main([*words, *FEW]) == 0
    (sheet,) = read_pictures(Path(capsys.readouterr().out.strip())).pixels
    cells = []
    for seed in (7, 8):
        base = ["run", "tiny_t2v", "--output", str(tmp_path / str(seed)), "--set", f"WanDirectorSampler.seed={seed}"]
        saver = [f"WanDirectorSaveVideo.{each}" for each in ("format=png frames", "filename_prefix=base")]
        assert main([*base, *FEW, *(word for each in saver for word in ("--set", each))]) == 0
        (picture,) = (tmp_path / str(seed)).rglob("*.png")
        cells.append(read_pictures(picture).pixels)
    expected = next(contact_sheet([[cell, cell] for cell in cells], _names()))
    assert sheet.shape == expected.shape
    width = 6 + round(cells[0].shape[2] * -(-160 // min(cells[0].shape[1:3])))  # of a column
    assert torch.equal((255 * sheet[:, :-width]).round(), (255 * expected[:, :-width]).round())
    assert not torch.equal(sheet[30:, -width:], expected[30:, -width:])


def _names() -> SheetNames:
    return SheetNames(("seed 7", "seed 8"), ("without the LoRA", "strength 1"))


def test_a_workflow_that_makes_a_video_gives_a_video(lora, tmp_path, capsys):
    few = [each.replace("frames=1", "frames=5") for each in FEW]
    words = ["compare", "tiny_t2v", str(lora), "--seeds", "1", "--output", str(tmp_path)]
    assert main([*words, *few]) == 0
    video = probe_video(Path(capsys.readouterr().out.strip()))
    assert len(video.times) == 5 and video.fps == 8


def test_pixels_of_small_clips_stay_and_short_ones_keep_their_last_frame():
    one, two = torch.rand(1, 40, 60, 3), torch.rand(2, 40, 60, 3)
    first, second = contact_sheet([[one, two]], SheetNames(("a",), ("x", "y")))
    assert first.shape == second.shape and first.shape[0] == 30 + 160 + 6
    left = first.shape[1] - 2 * (240 + 6)
    for frame, picture in ((first, two[0]), (second, two[1])):
        assert torch.equal(frame[30:190:4, left : left + 240 : 4], one[0])
        assert torch.equal(frame[30:190:4, left + 246 : left + 486 : 4], picture)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["tiny_t2v", "nowhere.safetensors"], "There is no LoRA nowhere.safetensors. Give its path"),
        (["nowhere", "LORA"], "nowhere"),
        (["tiny_t2v", "LORA", "--seeds", "a"], "--seeds are numbers"),
        (["tiny_t2v", "LORA", "--strengths", ""], "--strengths are numbers"),
        (["tiny_t2v", "LORA", "--strengths", "99"], "strength"),
    ],
)
def test_what_cannot_be_compared_is_refused(words, sentence, lora, tmp_path, capsys):
    words = [str(lora) if word == "LORA" else word for word in words]
    assert main(["compare", *words, "--output", str(tmp_path), *FEW]) == 1
    assert sentence in capsys.readouterr().err
