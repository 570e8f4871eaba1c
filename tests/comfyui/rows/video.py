"""VIDEO and AUDIO: pictures and sound go both ways."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import torch
from measure import Row, average, fact, same, worst
from runs import clip_of

FILM = 0.01
"""On average: two decoders of one compressed file fill in the colours that it leaves out in other ways."""


def sound() -> dict[str, Any]:
    """Half a second of a tone."""
    return {"waveform": torch.sin(torch.arange(22050) * math.tau * 440 / 44100)[None, None], "sample_rate": 44100}


def folder_of(name: str) -> Path:
    import folder_paths

    return Path(getattr(folder_paths, f"get_{name}_directory")())


def film() -> torch.Tensor:
    """Soft pictures, of which a codec keeps the colours."""
    return torch.nn.functional.interpolate(clip_of(9, 4).movedim(-1, 1), (64, 64), mode="bilinear").movedim(1, -1)


def native_file(w: Any, name: str, with_sound: bool) -> str:
    """A video that ComfyUI wrote: its name in the input folder."""
    video = w.one("CreateVideo", images=film(), fps=8.0, **({"audio": sound()} if with_sound else {}))
    video.save_to(str(folder_of("input") / f"{name}.mp4"))
    return f"{name}.mp4"


def components(w: Any, file: str) -> tuple:
    return w.call("GetVideoComponents", video=w.one("LoadVideo", file=file))


def created(w: Any) -> dict:
    """Frames of our decoder in Create Video, and out again."""
    latent = w.one("VAEEncode", vae=w.vae("native"), pixels=clip_of())
    frames = w.one("WanDirectorDecode", vae=w.vae("ours"), latent=latent)
    images, _, fps = w.call("GetVideoComponents", video=w.one("CreateVideo", images=frames, fps=8.0))[:3]
    return worst(same(images, frames), fact(float(fps) == 8.0, f"{fps} frames a second"))


def read_by_both(w: Any) -> dict:
    """A file of ComfyUI's by its nodes and by Wan Load Video."""
    file = native_file(w, "silent", with_sound=False)
    images, _, fps = components(w, file)[:3]
    own, rate, count, _ = w.call(
        "WanDirectorLoadVideo", file=file, start_frame=0, frames=0, fps=0.0, width=0, height=0, fit="crop"
    )
    return worst(average(own, images), fact(count == 9 and rate == float(fps) == 8.0, f"{count} frames at {rate}"))


def written_by_us(w: Any) -> dict:
    """A file of Wan Save Video by Load Video: its length, and its colours as far as the codec keeps them."""
    w.call("WanDirectorSaveVideo", images=film(), fps=8.0, filename_prefix="rows/film", format="mp4-h264", quality=95)
    written = sorted(folder_of("output").glob("rows/film*.mp4"))[-1]
    shutil.copy(written, folder_of("input") / "film.mp4")
    images, audio, fps = components(w, "film.mp4")[:3]
    return worst(average(images, film()), fact(float(fps) == 8.0 and not audio, f"{fps} frames a second, {audio}"))


def sound_is_read(w: Any) -> dict:
    """Wan Load Video of a file with sound: the sound that ComfyUI reads, as long as the pictures are."""
    file = native_file(w, "loud", with_sound=True)
    own, rate, count, audio = w.call(
        "WanDirectorLoadVideo", file=file, start_frame=0, frames=0, fps=0.0, width=0, height=0, fit="crop"
    )
    native = components(w, file)[1]
    heard, read = audio["waveform"], native["waveform"]
    both = sound()["waveform"].shape[-1]  # ComfyUI also gives what the codec's last block has beyond the end
    length = fact(
        heard.shape[-1] == round(count / rate * 44100) and audio["sample_rate"] == native["sample_rate"],
        f"{heard.shape} at {audio['sample_rate']} beside {read.shape} at {native['sample_rate']}",
    )
    return worst(same(heard[..., :both], read[..., :both]), length)


def sound_is_written(w: Any) -> dict:
    """An AUDIO of ComfyUI's in Wan Save Video, and what Load Video reads of the file: a tone of its length."""
    w.call(
        "WanDirectorSaveVideo", images=film(), fps=8.0, filename_prefix="rows/heard", format="mp4-h264", quality=80,
        audio={**sound(), "waveform": sound()["waveform"] / 2},
    )  # fmt: skip
    written = sorted(folder_of("output").glob("rows/heard*.mp4"))[-1]
    shutil.copy(written, folder_of("input") / "heard.mp4")
    audio = components(w, "heard.mp4")[1]
    wave, given = audio["waveform"][0, 0], sound()["waveform"][0, 0] / 2  # AAC makes the loudest a little softer
    begin = slice(4410, 17640)  # away from the ends, which a codec smears
    silent = float(wave[26460:].abs().max())
    return worst(average(wave[begin], given[begin]), fact(silent < 0.01, f"{silent} after the end"))


def sound_goes_around(w: Any) -> dict:
    """The sound of a file beside frames of ours, by ComfyUI's nodes."""
    audio = components(w, native_file(w, "loud", with_sound=True))[1]
    video = w.one("CreateVideo", images=clip_of(9, 64), fps=8.0, audio=audio)
    return same(w.call("GetVideoComponents", video=video)[1]["waveform"], audio["waveform"])


def video_into_pictures(w: Any) -> dict:
    """The canvas lets nobody connect the two; a workflow file that does is refused."""
    w.one("WanDirectorEncode", vae=w.vae("ours"), images=w.one("CreateVideo", images=clip_of(9, 64), fps=8.0))
    raise AssertionError("it was taken")


def sound_into_pictures(w: Any) -> dict:
    w.call("WanDirectorSaveVideo", images=sound(), fps=8.0, filename_prefix="rows/none", format="mp4-h264", quality=80)
    raise AssertionError("it was taken")


ROWS = {
    "Wan Decode Video into CreateVideo and GetVideoComponents": Row(created),
    "LoadVideo and Wan Load Video on one file": Row(read_by_both, FILM),
    "Wan Save Video into LoadVideo": Row(written_by_us, FILM),
    "Wan Load Video of a file with sound": Row(sound_is_read),
    "an AUDIO into Wan Save Video, and into Load Video": Row(sound_is_written, FILM),
    "GetVideoComponents' AUDIO beside our frames": Row(sound_goes_around),
    "a VIDEO into Wan Encode Video": Row(video_into_pictures, words=("images must be", "got an object of the type")),
    "an AUDIO into the images of Wan Save Video": Row(sound_into_pictures, words=("images must be", "got a dict")),
}
