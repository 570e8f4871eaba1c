"""The nodes that write videos take a sound, and the node that reads one gives it."""

from __future__ import annotations

import logging
import math
import os
from pathlib import Path

import pytest
import torch
import wan_director
from wan_director.common.errors import GraphError, InvalidInputError, OutputError, WanDirectorError
from wan_director.engine.local import Interrupted
from wan_director.media.sound.clip import Sound
from wan_director.media.sound.reading import probe_sound, read_sound
from wan_director.nodes.headless.core_nodes import CORE_NODES
from wan_director.nodes.headless.graph import parse_graph
from wan_director.nodes.headless.runner import run_graph
from wan_director.nodes.planning.stages import find_stages

from ..conftest import call, load_vae, picture

NODES = wan_director.NODE_CLASS_MAPPINGS
pytestmark = pytest.mark.usefixtures("inference")
FILE = {"fps": 8.0, "filename_prefix": "heard", "format": "mp4-h264", "quality": 80}
LOAD = {"start_frame": 0, "frames": 0, "fps": 0.0, "width": 0, "height": 0, "fit": "crop"}


def tone(seconds: float, rate: int = 16_000, channels: int = 1, begin: float = 0.0) -> dict:
    """1000 Hz from a second on: a native AUDIO."""
    time = torch.arange(round(seconds * rate)) / rate
    wave = 0.5 * torch.sin(time * math.tau * 1000) * (time >= begin)
    return {"waveform": wave.expand(1, channels, -1), "sample_rate": rate}


def save(**changes) -> None:
    NODES["WanDirectorSaveVideo"].execute(**{"images": picture(16), **FILE, **changes})


def only_file(host) -> Path:
    (file,) = (path for path in host.output.rglob("*") if path.is_file())
    return file


def sound_in(file: Path) -> Sound:
    track = probe_sound(file)
    assert track is not None
    return read_sound(file, track)


def loud_samples(sound: Sound) -> torch.Tensor:
    return (sound.waveform[0].abs() > 0.1).nonzero().flatten()


@pytest.mark.parametrize(("seconds", "begin", "end", "words"), [
    (2.0, 0.5, 2.0, ""), (3.0, 1.0, 2.0, "its end is cut off"), (0.75, 0.25, 0.75, "silence follows"),
])  # fmt: skip
def test_a_sound_is_as_long_as_its_video(tiny_host, caplog, seconds, begin, end, words):
    with caplog.at_level(logging.INFO, "wan_director"):
        save(audio=tone(seconds, begin=begin))
    assert ("The sound has" in caplog.text) is bool(words) and words in caplog.text
    sound = sound_in(only_file(tiny_host))
    assert sound.duration_s == pytest.approx(2.0, abs=1024 / 16_000)
    loud = loud_samples(sound)
    # AAC smears a sharp beginning over a few milliseconds; a picture lasts 125.
    assert loud[0] / sound.sample_rate == pytest.approx(begin, abs=5e-3)
    assert loud[-1] / sound.sample_rate == pytest.approx(end, abs=5e-3)


def test_without_a_sound_the_file_is_what_it_was(tiny_host):
    save()
    save(audio=None)
    first, second = sorted(tiny_host.output.rglob("*.mp4"))
    assert first.read_bytes() == second.read_bytes() and probe_sound(first) is None


def test_a_latent_is_decoded_beside_its_sound(tiny_host):
    latent = {"samples": torch.randn(2, 16, 3, 2, 3, generator=torch.Generator().manual_seed(4))}
    vae = load_vae("vae.safetensors")
    NODES["WanDirectorDecodeToVideo"].execute(vae=vae, latent=latent, **FILE, audio=tone(9.0))
    images, fps, count, audio = call("LoadVideo", file=str(only_file(tiny_host)), **LOAD)
    assert count == 18 and audio["waveform"].shape == (1, 1, 18 * 2_000) and audio["sample_rate"] == 16_000


@pytest.mark.parametrize("format", ["gif", "png frames"])
@pytest.mark.parametrize("name", ["SaveVideo", "DecodeToVideo"])
def test_what_has_no_room_for_sound_is_refused_before_the_work(tiny_host, monkeypatch, name, format):
    monkeypatch.setattr("wan_director.nodes.video.decoded_frames", lambda *_: pytest.fail("it was decoded"))
    given = {"images": picture(5)} if name == "SaveVideo" else {
        "vae": load_vae("vae.safetensors"), "latent": {"samples": torch.zeros(1, 16, 2, 2, 3)}
    }  # fmt: skip
    with pytest.raises(InvalidInputError, match=f"'{format}' has no room for sound"):
        NODES[f"WanDirector{name}"].execute(**given, **{**FILE, "format": format}, audio=tone(1.0))
    assert not list(tiny_host.output.rglob("*.*"))


@pytest.mark.parametrize(("audio", "words"), [
    ([1], "audio must be a sound with waveform and sample_rate, got a list"),
    ({"samples": torch.zeros(1)}, "audio must be a sound with waveform and sample_rate, got a dict"),
    ({"waveform": torch.full((1, 1, 9), math.nan), "sample_rate": 8_000}, "9 samples that are NaN"),
    ({"waveform": torch.zeros(1, 1, 0), "sample_rate": 8_000}, r"got \[1, 1, 0\]"),
])  # fmt: skip
def test_what_is_no_sound_is_refused(tiny_host, audio, words):
    with pytest.raises(InvalidInputError, match=words):
        save(audio=audio)
    assert not tiny_host.output.exists()


def test_a_plan_refuses_it_too(tiny_host):
    prompt = {
        "1": {"class_type": "WanDirectorLoadVideo", "inputs": {"file": "clip.mp4", **LOAD}},
        "2": {"class_type": "WanDirectorSaveVideo", "inputs": {
            "images": ["1", 0], "audio": ["1", 3], **FILE, "format": "gif"}},
    }  # fmt: skip
    save(audio=tone(2.0))
    only_file(tiny_host).rename(tiny_host.inputs[0] / "clip.mp4")
    with pytest.raises(WanDirectorError, match="'gif' has no room for sound"):
        find_stages(parse_graph(prompt, NODES))
    prompt["2"]["inputs"]["format"] = "webm-vp9"
    with pytest.raises(GraphError, match="nothing to plan"):  # no model: then it was not refused
        find_stages(parse_graph(prompt, NODES))
    assert not list(tiny_host.output.rglob("*.webm"))


def test_a_video_passes_through_with_its_sound(tiny_host):
    """Read at another rate, from a frame on, and written: the tone is where it was in the pictures."""
    save(images=picture(24), audio=tone(3.0, 44_100, 2, begin=1.5))
    source = only_file(tiny_host).rename(tiny_host.inputs[0] / "clip.mp4")
    prompt = {
        "1": {"class_type": "WanDirectorLoadVideo", "inputs": {
            "file": source.name, **LOAD, "fps": 4.0, "start_frame": 4, "frames": 5}},
        "2": {"class_type": "WanDirectorSaveVideo", "inputs": {
            "images": ["1", 0], "audio": ["1", 3], **FILE, "format": "webm-vp9", "fps": ["1", 1]}},
    }  # fmt: skip
    run_graph(parse_graph(prompt, NODES), NODES)
    images, fps, count, audio = call("LoadVideo", file=str(only_file(tiny_host)), **LOAD)
    assert count == 5 and fps == pytest.approx(4) and audio["waveform"].shape == (1, 2, 60_000)
    loud = loud_samples(Sound(audio["waveform"][0], 48_000))
    assert loud[0] / 48_000 == pytest.approx(0.5, abs=3e-3)


def test_a_file_without_sound_gives_none(tiny_host):
    save()
    assert call("LoadVideo", file=str(only_file(tiny_host)), **LOAD)[3] is None


def test_a_stopped_or_failed_run_leaves_no_sound_behind(tiny_host, monkeypatch):
    def stop():
        raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr(tiny_host.runtime, "check_interrupt", stop)
        with pytest.raises(Interrupted):
            save(audio=tone(2.0))
    assert not list(tiny_host.output.iterdir())


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_disk_that_is_full_of_sound_is_named(tiny_host, monkeypatch):
    from wan_director.media import video_writing

    write = video_writing.write_raw
    monkeypatch.setattr(video_writing, "write_raw", lambda sound, _file: write(sound, Path("/dev/full")))
    with pytest.raises(
        OutputError, match=r"(?s)No space left on device.*The frames are kept in.*The sound is not kept with"
    ):
        save(audio=tone(2.0))
    assert not list(tiny_host.output.glob(".wan*"))


def core(name: str, **inputs):
    results = CORE_NODES[name].execute(**inputs).args
    return results[0] if len(results) == 1 else results


def test_native_videos_carry_their_sound(tiny_host):
    audio = tone(2.0, 44_100, 2, begin=1.0)
    made = core("CreateVideo", images=picture(16), fps=8.0, audio=audio)
    assert torch.equal(core("GetVideoComponents", video=made)[1]["waveform"], audio["waveform"])
    CORE_NODES["SaveVideo"].execute(video=made, filename_prefix="x", format="auto")
    file = only_file(tiny_host)
    loaded = core("LoadVideo", file=str(file))
    images, heard, fps, *_ = core("GetVideoComponents", video=loaded)
    assert heard["sample_rate"] == 44_100 and heard["waveform"].shape == (1, 2, 88_200)
    for video in (loaded, made):
        part = core("Video Slice", video=video, start_time=0.75, duration=0.5, strict_duration=False)
        cut = core("GetVideoComponents", video=part)[1]
        assert cut["waveform"].shape == (1, 2, 22_050)
        assert loud_samples(Sound(cut["waveform"][0], 44_100))[0] / 44_100 == pytest.approx(0.25, abs=2e-3)
        late = core("Video Slice", video=part, start_time=0.25, duration=0.0, strict_duration=False)
        assert core("GetVideoComponents", video=late)[1]["waveform"].shape == (1, 2, 11_025)
    with pytest.raises(InvalidInputError, match="audio must be a sound"):
        core("CreateVideo", images=picture(16), fps=8.0, audio="beep")


def test_a_sound_file_is_read_cut_and_made_silent(tiny_host):
    save(audio=tone(2.0, begin=1.0))
    file = only_file(tiny_host)
    assert CORE_NODES["LoadAudio"].validate_inputs(audio=str(file)) is True
    heard = core("LoadAudio", audio=str(file))
    assert torch.equal(heard["waveform"][0], sound_in(file).waveform) and heard["sample_rate"] == 16_000
    part = core("TrimAudioDuration", audio=heard, start_index=0.5, duration=1.0)
    assert torch.equal(part["waveform"], heard["waveform"][..., 8_000:24_000])
    last = core("TrimAudioDuration", audio=part, start_index=-0.25, duration=60.0)
    assert torch.equal(last["waveform"], part["waveform"][..., -4_000:])
    with pytest.raises(InvalidInputError, match="The sound has 1.00 seconds, and none of them"):
        core("TrimAudioDuration", audio=part, start_index=2.0, duration=1.0)
    assert core("TrimAudioDuration", audio=None, start_index=0.0, duration=1.0) is None
    silence = core("EmptyAudio", duration=0.5, sample_rate=8_000, channels=2)
    assert silence["waveform"].shape == (1, 2, 4_000) and not silence["waveform"].any()


def test_a_file_that_is_no_sound_is_refused_before_anything_runs(tiny_host):
    save()
    check = CORE_NODES["LoadAudio"].validate_inputs
    assert "has no sound that can be read. Use a wav" in check(audio=str(only_file(tiny_host)))
    assert "There is no sound file gone.wav" in check(audio="gone.wav") and check() is True
