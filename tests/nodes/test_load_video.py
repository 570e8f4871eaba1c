"""Wan Load Video gives the frames of a file that are wanted, at the wanted rate and size."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from wan_director.common.errors import GraphError, InvalidInputError, MissingFileError
from wan_director.media.pictures import fit_pictures
from wan_director.media.video_reading import read_video
from wan_director.media.video_writing import save_video
from wan_director.nodes.headless.graph import parse_graph
from wan_director.nodes.load_video import WanDirectorLoadVideo
from wan_director.nodes.planning.stages import find_stages

from .conftest import call

VOICE = "wan_director_tiny_voice.mp4"
AS_IN_THE_FILE = {"start_frame": 0, "frames": 0, "fps": 0.0, "width": 0, "height": 0, "fit": "crop"}


@pytest.fixture
def clip(tmp_path: Path, tiny_host) -> Path:
    """30 frames of 96x64 in one second."""
    frames = torch.rand(30, 64, 96, 3, generator=torch.Generator().manual_seed(0))
    place = tiny_host.save_place("clip", 96, 64)
    (file,) = save_video(frames, place, format="mp4-h264", fps=30.0, quality=90, metadata={})
    return file.rename(tmp_path / "clip.mp4")


def load(**changes):
    return call("LoadVideo", **{"file": "clip.mp4", **AS_IN_THE_FILE, **changes})


def test_the_whole_file_comes_as_it_is(clip):
    images, fps, count, _ = load()
    assert torch.equal(images, read_video(clip)[0]) and fps == pytest.approx(30) and count == 30


def test_the_wanted_frames_come_at_the_wanted_size(clip):
    whole, _ = read_video(clip)
    images, fps, count, _ = load(start_frame=3, frames=5, width=64, height=48, fit="pad")
    torch.testing.assert_close(images, fit_pictures(whole[3:8], 64, 48, "pad"), rtol=0, atol=1e-6)
    assert fps == pytest.approx(30) and count == 5


def test_another_rate_keeps_the_speed(clip):
    images, fps, count, _ = load(fps=15.0)
    assert fps == 15.0 and count == len(images) == 15


@pytest.mark.parametrize(("width", "height", "size"), [(48, 0, (32, 48)), (0, 128, (128, 192)), (100, 0, (64, 100))])
def test_a_side_of_0_follows_in_multiples_of_16(clip, width, height, size):
    assert load(frames=1, width=width, height=height)[0].shape == (1, *size, 3)


def test_too_few_frames_are_noted(clip, caplog):
    with caplog.at_level(logging.INFO, "wan_director"):
        assert load(start_frame=20, frames=81)[2] == 10
    assert "clip.mp4 gives 10 of the 81 frames" in caplog.text


def test_a_side_beyond_all_bounds_is_refused(clip):
    with pytest.raises(InvalidInputError, match=r"96x64 would become 12288x8192, .* at most 8192 .* both width"):
        load(height=8192)


def test_what_cannot_be_read_is_refused_before_anything_runs(clip, tmp_path):
    check = WanDirectorLoadVideo.validate_inputs
    assert check() is True and check("clip.mp4") is True
    assert "There is no video file gone.mp4. Give a path" in check("gone.mp4")
    (tmp_path / "page.mp4").write_text("<html>")
    assert "page.mp4 cannot be read as a video" in check("page.mp4")
    with pytest.raises(MissingFileError):
        load(file="gone.mp4")
    with pytest.raises(InvalidInputError, match="none where they were to be taken from"):
        load(start_frame=99)


def test_a_changed_file_is_read_again(clip):
    before = WanDirectorLoadVideo.fingerprint_inputs("clip.mp4", **AS_IN_THE_FILE)
    assert before == WanDirectorLoadVideo.fingerprint_inputs("clip.mp4", **AS_IN_THE_FILE)
    clip.write_bytes(b"other")
    assert before != WanDirectorLoadVideo.fingerprint_inputs("clip.mp4", **AS_IN_THE_FILE)
    assert WanDirectorLoadVideo.fingerprint_inputs("gone.mp4", **AS_IN_THE_FILE) is None
    assert WanDirectorLoadVideo.fingerprint_inputs() is None


def test_the_input_folder_s_videos_are_offered(clip, tmp_path):
    (tmp_path / "a.GIF").touch()
    (tmp_path / "text.txt").touch()
    (kind, options) = WanDirectorLoadVideo.INPUT_TYPES()["required"]["file"]
    assert options["options"] == ["a.GIF", "clip.mp4", VOICE] and options["video_upload"] is True


def test_the_bundled_video_is_read_where_there_is_none_of_its_name(clip, tmp_path):
    """From everywhere, for the workflows that begin with it; a file of the user's own comes first."""
    assert WanDirectorLoadVideo.validate_inputs(VOICE) is True
    images, fps, _count, audio = load(file=VOICE)
    assert (tuple(images.shape), fps) == ((37, 64, 64, 3), 25) and audio["waveform"].abs().max() > 0.5
    (tmp_path / "away").mkdir()
    for name in (f"away/{VOICE}", f"../{VOICE}"):
        with pytest.raises(MissingFileError):
            load(file=name)
    clip.rename(tmp_path / VOICE)
    assert len(load(file=VOICE)[0]) == 30
    (_, options) = WanDirectorLoadVideo.INPUT_TYPES()["required"]["file"]
    assert options["options"] == [VOICE]


def test_the_size_is_known_to_the_plan(tiny_host):
    vae = {"class_type": "WanDirectorLoadVAE", "inputs": {"vae_name": "vae.safetensors", "precision": "auto"}}
    inputs = {"file": "x.mp4", **AS_IN_THE_FILE, "frames": 9, "width": 64, "height": 48}
    prompt = {
        "1": vae,
        "2": {"class_type": "WanDirectorLoadVideo", "inputs": inputs},
        "3": {"class_type": "WanDirectorEncode", "inputs": {"vae": ["1", 0], "images": ["2", 0]}},
    }
    import wan_director

    (stage,) = find_stages(parse_graph(prompt, wan_director.NODE_CLASS_MAPPINGS)).stages
    assert stage.kind == "encode" and stage.job.video == (9, 48, 64)
    inputs["frames"] = 0
    with pytest.raises(GraphError, match=r"The size of the video at WanDirectorEncode \(node 3\) is not known"):
        find_stages(parse_graph(prompt, wan_director.NODE_CLASS_MAPPINGS))
