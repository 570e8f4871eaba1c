"""Sound goes into video files and comes out of them: the same tone at the same time."""

from __future__ import annotations

import logging
import math
import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import torch
from wan_director.common.errors import InvalidInputError, MissingPackageError
from wan_director.media import encoder
from wan_director.media.place import SavePlace
from wan_director.media.sound.clip import Sound, clean_sound
from wan_director.media.sound.reading import SoundSpan, outlined_sound, probe_sound, read_sound
from wan_director.media.video_reading import Cut, probe_video, read_video
from wan_director.media.video_writing import save_video

HERTZ, BEGIN, END = 1000, 1.0, 1.25
"""Of the beep."""


def beep(rate: int, channels: int = 1, seconds: float = 2.0) -> Sound:
    """A beep at 1.0 s; each channel a tenth softer than the one before."""
    time = torch.arange(round(seconds * rate)) / rate
    tone = torch.where((time >= BEGIN) & (time < END), 0.5 * torch.sin(time * math.tau * HERTZ), torch.zeros(()))
    return Sound(torch.stack([tone * (1 - channel / 10) for channel in range(channels)]), rate)


def written(folder: Path, sound: Sound | None, format: str = "mp4-h264", *, fps: float = 16, frames: int = 32) -> Path:
    clip = torch.linspace(0, 1, frames).view(-1, 1, 1, 1).expand(-1, 16, 32, 3)
    place = SavePlace(folder, "clip", 1, "")
    return save_video(clip, place, format=format, fps=fps, quality=50, metadata={"prompt": {"1": "a"}}, sound=sound)[0]


def heard(file: Path, channels: int, rate: int = 48_000) -> np.ndarray:
    """What a player plays: [samples, channels]."""
    program = imageio_ffmpeg.get_ffmpeg_exe()
    target = ["-ac", str(channels), "-ar", str(rate), "-f", "f32le", "-"]
    source = ["-v", "error", "-i", file, "-map", "0:a"]
    found = subprocess.run([program, *source, *target], capture_output=True, check=True)
    return np.frombuffer(found.stdout, np.float32).reshape(-1, channels)


def loud_from_to(wave: np.ndarray, rate: int) -> tuple[float, float]:
    loud = np.flatnonzero(np.abs(wave) > 0.1)
    return loud[0] / rate, loud[-1] / rate


def pitch(wave: np.ndarray, rate: int) -> float:
    """Of the loudest tone within the beep."""
    part = wave[round((BEGIN + 0.02) * rate) : round((END - 0.02) * rate)]
    spectrum = np.abs(np.fft.rfft(part * np.hanning(len(part)), 8 * len(part)))
    return float(spectrum.argmax() * rate / (8 * len(part)))


@pytest.mark.parametrize(
    ("rate", "channels", "fps"),
    [(8_000, 1, 16.0), (8_000, 2, 24.0), (8_000, 6, 16.0), (44_100, 1, 24.0), (44_100, 2, 16.0), (44_100, 6, 24.0),
     (48_000, 1, 16.0), (48_000, 2, 24.0), (48_000, 6, 16.0)],
)  # fmt: skip
@pytest.mark.parametrize("format", ["mp4-h264", "webm-vp9"])
def test_a_beep_is_heard_where_it_was(tmp_path, format, rate, channels, fps):
    """Both codecs keep a tone's pitch to the bin, and its ends to a thousandth of a second."""
    file = written(tmp_path, beep(rate, channels), format=format, fps=fps, frames=round(2 * fps))
    wave = heard(file, channels)
    assert len(wave) / 48_000 == pytest.approx(2.0, abs=1024 / 8_000)  # a last block of AAC may stand over
    for channel in range(channels):
        if (format, channel) == ("mp4-h264", 3):
            continue  # AAC keeps low tones alone of the subwoofer
        begin, end = loud_from_to(wave[:, channel], 48_000)
        assert begin == pytest.approx(BEGIN, abs=2e-3) and end == pytest.approx(END, abs=2e-3)
        assert pitch(wave[:, channel], 48_000) == pytest.approx(HERTZ, abs=1.0)
        loudest = np.abs(wave[round(1.05 * 48_000) : round(1.2 * 48_000), channel]).max()
        assert loudest == pytest.approx(0.5 * (1 - channel / 10), abs=0.03)


@pytest.mark.parametrize("format", ["mp4-h264", "mp4-h265", "webm-vp9"])
def test_sound_leaves_the_pictures_as_they_are(tmp_path, format):
    plain = read_video(written(tmp_path / "silent", None, format=format))
    beside = read_video(written(tmp_path / "loud", beep(44_100, 2), format=format))
    assert torch.equal(plain[0], beside[0]) and plain[1] == beside[1] == pytest.approx(16)
    assert len(list((tmp_path / "loud").iterdir())) == 1


@pytest.mark.parametrize("format", ["mp4-h264", "webm-vp9"])
def test_the_same_sound_gives_the_same_file(tmp_path, format):
    made = [written(tmp_path, beep(44_100, 2), format=format).read_bytes() for _ in range(2)]
    assert made[0] == made[1]


@pytest.mark.parametrize("format", ["mp4-h264", "webm-vp9"])
@pytest.mark.parametrize("channels", [3, 4, 5, 7, 8])
def test_every_number_of_channels_up_to_eight_is_kept(tmp_path, format, channels):
    track = probe_sound(written(tmp_path, beep(48_000, channels), format=format))
    assert track is not None and track.channels == channels


@pytest.mark.parametrize("rate", [100, 7_000, 37_800, 96_000, 192_000])
def test_rates_that_a_codec_does_not_know_become_others(tmp_path, rate):
    silence = Sound(torch.zeros(2, 2 * rate), rate)
    tracks = [probe_sound(written(tmp_path, silence, format=format)) for format in ("mp4-h264", "webm-vp9")]
    assert [track.sample_rate for track in tracks] == [rate if rate == 96_000 else 48_000, 48_000]


@pytest.mark.parametrize("format", ["gif", "png frames"])
def test_formats_without_sound_say_so(tmp_path, format):
    words = rf"'{format}' has no room for sound, and audio is connected. Choose one of mp4-h264, .*, or remove the"
    with pytest.raises(InvalidInputError, match=words):
        written(tmp_path, beep(8_000), format=format)
    assert not list(tmp_path.iterdir())


def test_a_missing_sound_encoder_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(encoder, "coded", lambda codec, sound, raw: encoder.CodedSound(
        ("-f", "f32le", "-ar", "48000", "-i", raw), ("-c:a", "no_such_encoder")
    ))  # fmt: skip
    encoder._try.cache_clear()
    with pytest.raises(MissingPackageError, match=r"cannot encode with aac: .*no_such_encoder"):
        written(tmp_path, beep(8_000))
    encoder._try.cache_clear()


@pytest.mark.parametrize("format", ["mp4-h264", "webm-vp9"])
def test_a_long_sound_waits_for_slow_pictures(tmp_path, format):
    """The encoder has a minute of sound at once, and its pictures one by one."""
    sound = Sound(0.1 * torch.ones(2, 60 * 8_000), 8_000)
    frames = (torch.rand(16, 32, 3) for _ in range(12))
    place = SavePlace(tmp_path, "slow", 1, "")
    (file,) = save_video(frames, place, format=format, fps=0.2, quality=50, metadata={}, sound=sound)
    video = probe_video(file)
    assert len(video.times) == 12 and len(heard(file, 2)) / 48_000 == pytest.approx(60, abs=0.2)


def test_a_sound_is_cut_or_followed_by_silence():
    sound = beep(8_000, 2)
    assert torch.equal(sound.fitted(1.5).waveform, sound.waveform[:, :12_000])
    longer = sound.fitted(3.0).waveform
    assert torch.equal(longer[:, :16_000], sound.waveform)
    assert longer.shape == (2, 24_000) and not longer[:, 16_000:].any()
    assert sound.fitted(2.0).waveform.shape == (2, 16_000)


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """Two seconds of 24 frames each, with the beep."""
    return written(tmp_path_factory.mktemp("source"), beep(44_100, 2), fps=24.0, frames=48)


@pytest.mark.parametrize("cut", [
    Cut(), Cut(first=12), Cut(first=20, count=10), Cut(fps=16), Cut(fps=16, first=8, count=17), Cut(start_s=0.5),
    Cut(start_s=0.52, end_s=1.5), Cut(fps=10, start_s=0.3, first=2),
])  # fmt: skip
def test_what_is_read_begins_with_its_pictures(source, cut):
    video = probe_video(source)
    frames, rate = read_video(source, cut)
    sound = read_sound(source, video.sound, SoundSpan(video.begin_s(cut), len(frames) / rate))
    assert sound.sample_rate == 44_100 and sound.waveform.shape == (2, round(len(frames) / rate * 44_100))
    begin, end = loud_from_to(sound.waveform[0].numpy(), 44_100)
    offset = video.begin_s(cut)
    assert begin == pytest.approx(BEGIN - offset, abs=2e-3)
    assert end == pytest.approx(min(END - offset, sound.duration_s), abs=2e-3)


@pytest.mark.parametrize("cut", [Cut(first=12), Cut(fps=16, first=8), Cut(fps=8, start_s=0.5), Cut(start_s=0.4)])
def test_a_picture_and_its_sound_stay_together(tmp_path, cut):
    """A flash with each beep, cut in every way: the brightest picture is shown when the beep is heard."""
    clip = torch.zeros(48, 16, 32, 3)
    clip[24:30] = 1.0
    place = SavePlace(tmp_path, "flash", 1, "")
    (file,) = save_video(clip, place, format="mp4-h264", fps=24, quality=90, metadata={}, sound=beep(48_000))
    video = probe_video(file)
    frames, rate = read_video(file, cut)
    sound = read_sound(file, video.sound, SoundSpan(video.begin_s(cut), len(frames) / rate))
    flash = int((frames.mean(dim=(1, 2, 3)) > 0.5).nonzero()[0]) / rate
    begin, _ = loud_from_to(sound.waveform[0].numpy(), 48_000)
    assert abs(flash - begin) <= 0.5 / rate + 1e-3


def test_a_track_that_begins_late_or_ends_early_has_silence_there(tmp_path):
    program = imageio_ffmpeg.get_ffmpeg_exe()
    file = tmp_path / "late.mkv"
    inputs = ["-f", "lavfi", "-i", "testsrc=size=32x16:rate=16:duration=3", "-itsoffset", "1", "-f", "lavfi", "-i",
              "sine=frequency=1000:duration=1:sample_rate=44100"]  # fmt: skip
    subprocess.run([program, "-v", "error", *inputs, "-c:a", "flac", file], check=True)
    video = probe_video(file)
    sound = read_sound(file, video.sound, SoundSpan(video.begin_s(Cut()), 3.0))
    wave = sound.waveform[0]
    assert wave.shape == (3 * 44_100,) and not wave[:44_000].any() and not wave[2 * 44_100 + 200 :].any()
    assert pitch(wave.numpy(), 44_100) == pytest.approx(HERTZ, abs=1.0)
    after = read_sound(file, video.sound, SoundSpan(2.5, 0.25))
    assert after.waveform.shape == (1, 11_025) and not after.waveform.any()


def test_whole_files_are_read_as_they_are(tmp_path):
    program, file = imageio_ffmpeg.get_ffmpeg_exe(), tmp_path / "x.wav"
    made = beep(22_050, 3)
    raw = made.waveform.T.contiguous().numpy().tobytes()
    given = ["-f", "f32le", "-ar", "22050", "-ac", "3", "-i", "-"]
    subprocess.run([program, "-v", "error", *given, "-c:a", "pcm_f32le", file], input=raw, check=True)
    track = probe_sound(file)
    sound = read_sound(file, track)
    assert sound.sample_rate == 22_050 and torch.equal(sound.waveform, made.waveform)
    outline = outlined_sound(track)
    assert outline.waveform.shape == sound.waveform.shape and outline.sample_rate == 22_050


def test_what_has_no_sound_has_no_track(tmp_path):
    (tmp_path / "x.txt").write_text("#EXTM3U\nhttp://localhost/x.ts\n")
    assert probe_sound(tmp_path / "x.txt") is None
    assert probe_sound(written(tmp_path, None)) is None


def test_reading_can_be_stopped(source):
    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read_sound(source, probe_sound(source), each=stop)


@pytest.mark.parametrize(("waveform", "rate", "words"), [
    (None, 8_000, r"audio must be a sound \[batch, channels, samples\], got nothing"),
    (torch.zeros(2, 100), 8_000, r"got \[2, 100\]"),
    (torch.zeros(1, 2, 0), 8_000, r"got \[1, 2, 0\]"),
    (torch.zeros(1, 0, 9), 8_000, r"got \[1, 0, 9\]"),
    (torch.zeros(1, 1, 9, dtype=torch.int16), 8_000, r"got \[1, 1, 9\] of whole numbers"),
    (torch.zeros(1, 9, 100), 8_000, r"has 9 channels, where .* 8 \(7.1\). Mix it down"),
    (torch.zeros(1, 1, 9), 0, "sample_rate of audio must be a whole number from 1 to 768000, got 0"),
    (torch.zeros(1, 1, 9), 44100.5, "got 44100.5"),
    (torch.zeros(1, 1, 9), "44100", "got a text"),
    (torch.tensor([[[0.0, math.nan, math.inf]]]), 8_000, "holds 2 samples that are NaN or infinite"),
])  # fmt: skip
def test_what_is_no_sound_is_refused(waveform, rate, words):
    with pytest.raises(InvalidInputError, match=words):
        clean_sound(waveform, rate, "audio")


def test_what_is_too_loud_or_one_of_several_is_said(caplog):
    loud = torch.tensor([[[0.5, -3.0, 2.0]], [[9.0, 9.0, 9.0]]], dtype=torch.float64)
    with caplog.at_level(logging.INFO, "wan_director"):
        sound = clean_sound(loud, 8_000, "audio")
    assert sound.waveform.tolist() == [[0.5, -1.0, 1.0]] and sound.waveform.dtype == torch.float32
    assert "audio holds 2 sounds; the first is used" in caplog.text and "values up to 3; they are cut" in caplog.text
    assert loud[0, 0, 1] == -3.0
