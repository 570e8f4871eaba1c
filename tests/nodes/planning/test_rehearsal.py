"""What the rehearsal of a run refuses, the run refuses too; what it cannot know, it leaves to the run."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import torch
import wan_director
from PIL import Image
from wan_director.common.errors import InvalidInputError, PairingError
from wan_director.media.ffmpeg import ffmpeg_program
from wan_director.media.video_reading import probe_video, read_video
from wan_director.media.video_writing import save_video
from wan_director.nodes.headless.checks import check_graph
from wan_director.nodes.headless.core_nodes import CORE_NODES
from wan_director.nodes.headless.graph import parse_graph
from wan_director.nodes.headless.runner import run_graph
from wan_director.nodes.hosts.command_line import HeadlessHost
from wan_director.nodes.planning.rehearsal import rehearse

from ..headless.conftest import node
from .graphs import t2v, vace

CLASSES = {**CORE_NODES, **wan_director.NODE_CLASS_MAPPINGS}


@pytest.fixture(autouse=True)
def clip(tiny_host: HeadlessHost, tmp_path: Path) -> Path:
    """A video of 18 frames, and a picture."""
    Image.new("RGB", (80, 60), (200, 30, 30)).save(tmp_path / "start.png")
    frames = torch.rand(18, 48, 64, 3, generator=torch.Generator().manual_seed(0))
    place = tiny_host.save_place("clip", 64, 48)
    (file,) = save_video(frames, place, format="mp4-h264", fps=16, quality=80, metadata={})
    return file.rename(tmp_path / "clip.mp4")


def rehearsed(prompt: dict) -> None:
    rehearse(check_graph(parse_graph(prompt, CLASSES), CLASSES), CLASSES)


def cut_short(clip: Path) -> None:
    """Takes so much of the file's end away that of its 18 frames 17 can be read."""
    whole = clip.with_name("whole.mp4")
    subprocess.run(
        [ffmpeg_program(), "-v", "error", "-i", clip, "-c", "copy", "-movflags", "+faststart", whole], check=True
    )
    data = whole.read_bytes()
    for cut in range(1, 4000, 50):
        clip.write_bytes(data[:-cut])
        if (len(probe_video(clip).times), len(read_video(clip)[0])) == (18, 17):
            return
    raise AssertionError("no such file")


def test_a_damaged_video_may_have_fewer_frames_than_it_says(clip, caplog):
    cut_short(clip)
    prompt = t2v()
    prompt["film"] = node("LoadVideo", file="clip.mp4")
    prompt["parts"] = node("GetVideoComponents", video=["film", 0])
    prompt["size"] = node("WanDirectorEncode", vae=["vae", 0], images=["parts", 0])
    run_graph(parse_graph(prompt, CLASSES), CLASSES)
    assert "is damaged" in caplog.text


def test_a_picture_without_opacity_has_the_mask_of_load_image():
    prompt = t2v()
    prompt["picture"] = node("LoadImage", image="start.png")
    prompt["pale"] = node("MaskToImage", mask=["picture", 1])
    prompt["sides"] = node("GetImageSize", image=["pale", 0])
    prompt["size"]["inputs"] |= {"width": ["sides", 0], "height": ["sides", 1]}
    run_graph(parse_graph(prompt, CLASSES), CLASSES)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "I;16"])
def test_the_mask_of_a_picture_with_opacity_has_its_size(mode, tmp_path):
    Image.new(mode, (80, 60)).save(tmp_path / "start.png", **({} if "A" in mode else {"transparency": 0}))
    prompt = t2v()
    prompt["picture"] = node("LoadImage", image="start.png")
    prompt["pale"] = node("MaskToImage", mask=["picture", 1])
    prompt["sides"] = node("GetImageSize", image=["pale", 0])
    prompt["size"]["inputs"] |= {"width": ["sides", 0], "height": ["sides", 1]}
    with pytest.raises(InvalidInputError, match="height must be a multiple of 16 pixels, got 60"):
        rehearsed(prompt)


@pytest.mark.parametrize("fps", [0.0, 24.0])
def test_the_wrong_vae_shows_before_the_sampling_behind_a_video_of_another_rate(fps):
    prompt = vace()
    prompt["film"]["inputs"] |= {"frames": 0, "fps": fps}
    prompt["other"] = node("WanDirectorLoadVAE", vae_name="wan21_vae.safetensors", precision="auto")
    prompt["decode"]["inputs"]["vae"] = ["other", 0]
    with pytest.raises(PairingError, match="wan21_vae.safetensors belongs to Wan 2.1, but vace.safetensors"):
        rehearsed(prompt)


def test_frames_that_a_video_does_not_have_are_refused_as_by_the_run(clip):
    prompt = vace()
    prompt["film"]["inputs"]["start_frame"] = 100
    with pytest.raises(InvalidInputError, match="clip.mp4 has 18 frames in 1.12 seconds, and none where they were"):
        rehearsed(prompt)
