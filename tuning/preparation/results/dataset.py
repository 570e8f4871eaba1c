"""The files that a trainer reads: the dataset's TOML, a line of JSON for each clip, and a table of all scores."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

from ..captions import CAPTION_ENDING
from ..keeping import write_whole
from ..settings import SCORES
from .records import Clip, PreparedClips

CLIPS, CACHE = "clips", "latents"
TOML, LINES, TABLE = "dataset.toml", "clips.jsonl", "clips.csv"
_COLUMNS = ("clip", "keep", "why", "video", "start_s", "end_s", "frames", "fps", "width", "height", "camera")


def write_dataset(prepared: PreparedClips, out: Path) -> Path:
    """Writes all of them and gives the path of the TOML, which is in musubi-tuner's form.

    Raises:
        OutputError: they could not be written.
    """
    settings = prepared.settings
    lines = [
        json.dumps({"video_path": f"{CLIPS}/{clip.name(settings)}.mp4", "caption": clip.caption}, ensure_ascii=False)
        for clip in prepared.kept
    ]
    write_whole(out / LINES, "".join(f"{line}\n" for line in lines))
    write_whole(out / TABLE, _table(prepared))
    write_whole(out / TOML, _toml(prepared, out))
    return out / TOML


def _toml(prepared: PreparedClips, out: Path) -> str:
    settings = prepared.settings
    longest = max((len(clip.excerpt.numbers) for clip in prepared.kept), default=settings.longest)
    # Paths are whole: the trainers take others from the folder that they are started in.
    folder = out.resolve()
    return "\n".join((
        "# Clips of one shot each; every clip is used whole. target_frames and frame_extraction",
        '# = "head" take shorter excerpts of them.',
        "[general]",
        f"resolution = [{settings.resolution.width}, {settings.resolution.height}]",
        f"caption_extension = {_quoted(CAPTION_ENDING)}",
        "batch_size = 1",
        "enable_bucket = true",
        "bucket_no_upscale = true",
        "",
        "[[datasets]]",
        f"video_directory = {_quoted((folder / CLIPS).as_posix())}",
        f"cache_directory = {_quoted((folder / CACHE).as_posix())}",
        'frame_extraction = "full"',
        f"max_frames = {longest}",
        "num_repeats = 1",
        "",
    ))  # fmt: skip


def _quoted(text: str) -> str:
    """A basic string of TOML, which writes characters as JSON does."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _table(prepared: PreparedClips) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow((*_COLUMNS, *SCORES, "bars", "hash", "caption"))
    for clip in prepared.clips:
        writer.writerow(_row(clip, prepared))
    for refused in prepared.refused:
        writer.writerow(("", "no", refused.why, refused.name))
    return file.getvalue()


def _row(clip: Clip, prepared: PreparedClips) -> tuple[object, ...]:
    excerpt, measured = clip.excerpt, clip.measured
    times = f"{excerpt.start_s:.3f}", f"{excerpt.end_s:.3f}"
    size = (len(excerpt.numbers), f"{prepared.settings.fps:g}", clip.width, clip.height)
    end = (
        " ".join(f"{bar:.3f}" for bar in measured.bars),
        " ".join(f"{each:016x}" for each in measured.hashes),
        clip.caption,
    )
    scores = (measured.scores.get(name, "") for name in SCORES)
    name, keep, why = clip.name(prepared.settings), "yes" if clip.is_kept else "no", "; ".join(clip.why)
    return (name, keep, why, clip.source.name, *times, *size, measured.camera, *scores, *end)
