"""From a table in musubi-tuner's form, a folder or lines of JSON to the clips that are there."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ...common.errors import InvalidInputError, MissingFileError
from ...media.video_reading import probe_video
from .clips import ClipFile, DatasetPart, PictureShape

PICTURES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})
VIDEOS = frozenset({".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v"})
_SOURCES = ("image_directory", "video_directory", "image_jsonl_file", "video_jsonl_file")
_NAMES = {
    "caption_extension": "caption_extension",
    "batch_size": "batch_size",
    "enable_bucket": "is_bucketed",
    "num_repeats": "num_repeats",
    "target_frames": "target_frames",
    "frame_extraction": "extraction",
    "max_frames": "max_frames",
    "source_fps": "fps",
}
_OTHERS = ("resolution", "bucket_no_upscale", "cache_directory", *_SOURCES)


def read_dataset(source: Path, resolution: PictureShape, frames: tuple[int, ...] = ()) -> list[DatasetPart]:
    """The parts of a dataset.

    Args:
        source: a table (.toml), lines (.jsonl), or a folder of pictures and videos with captions beside them.
        resolution, frames: of lines and folders, which say nothing of them.

    Raises:
        MissingFileError: there is no such file or folder.
        InvalidInputError: it is not in that form.
    """
    if source.suffix == ".toml":
        return list(_of_table(read_toml(source), source))
    if not source.exists():
        raise MissingFileError(
            f"There is no dataset {source}. Give a folder with pictures and captions, a .jsonl or a .toml."
        )
    options: dict[str, Any] = {"target_frames": frames} if frames else {"extraction": "full"}
    if source.is_dir():
        videos = any(file.suffix.lower() in VIDEOS for file in source.iterdir())
        pictures = any(file.suffix.lower() in PICTURES for file in source.iterdir())
        if not videos and not pictures:
            raise InvalidInputError(f"There are no pictures or videos in {source}. Put some there, with captions.")
        made = [DatasetPart(source, None, False, resolution)] if pictures else []
        return [*made, *([DatasetPart(source, None, True, resolution, **options)] if videos else [])]
    is_video = any("video_path" in each for each in _lines(source))
    return [DatasetPart(None, source, is_video, resolution, **(options if is_video else {}))]


def clips_of(part: DatasetPart) -> list[ClipFile]:
    """The clips of a part in a fixed order, each once.

    Raises:
        InvalidInputError: a caption is missing, or there are none.
    """
    files = list(captioned(part))
    if not files:
        raise InvalidInputError(
            f"There are no {'videos' if part.is_video else 'pictures'} in {part.folder or part.lines}. Put some there, "
            "with a caption for each."
        )
    return [clip for file in files for clip in (_excerpts(part, *file) if part.is_video else [ClipFile(*file)])]


def read_toml(path: Path) -> dict[str, Any]:
    """The table in a file.

    Raises:
        MissingFileError: there is no such file.
        InvalidInputError: it is no TOML.
    """
    try:
        import tomllib  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise InvalidInputError("Tables in TOML are read with Python 3.11 or later. Run it with a later one.") from None
    if not path.is_file():
        raise MissingFileError(f"There is no file {path}. Give the path of a .toml.")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, OSError) as error:
        raise InvalidInputError(f"{path.name} is no TOML: {error}. Correct it there.") from None


def _of_table(table: Mapping[str, Any], path: Path) -> Iterator[DatasetPart]:
    general = table.get("general", {})
    if not table.get("datasets"):
        raise InvalidInputError(f"{path.name} holds no [[datasets]]. Add one with image_directory or video_directory.")
    for own in table["datasets"]:
        values = {**general, **own}
        unknown = sorted(set(values) - set(_NAMES) - set(_OTHERS))
        if unknown:
            raise InvalidInputError(
                f"{path.name} asks for {', '.join(unknown)}, which this trainer does not know. Leave it out; known are "
                f"{', '.join(sorted({*_NAMES, *_OTHERS}))}."
            )
        yield _part(values, path)


def _part(values: Mapping[str, Any], path: Path) -> DatasetPart:
    named = [name for name in _SOURCES if name in values]
    if len(named) != 1:
        raise InvalidInputError(f"Each [[datasets]] of {path.name} names one of {', '.join(_SOURCES)}, got {named}.")
    source = path.parent / str(values[named[0]])
    size = values.get("resolution", [960, 544])
    size = [size, size] if isinstance(size, int) else size
    options = {ours: values[name] for name, ours in _NAMES.items() if name in values}
    if "target_frames" in options:
        options["target_frames"] = tuple(options["target_frames"])
    is_folder = named[0].endswith("directory")
    return DatasetPart(
        source if is_folder else None,
        None if is_folder else source,
        named[0].startswith("video"),
        PictureShape(*size),
        may_enlarge=not values.get("bucket_no_upscale", False),
        **options,
    )


def captioned(part: DatasetPart) -> Iterator[tuple[Path, str]]:
    """The files of a part, each with its caption; raises as `clips_of`."""
    if part.lines is not None:
        key = "video_path" if part.is_video else "image_path"
        for each in _lines(part.lines):
            if key in each:
                yield part.lines.parent / str(each[key]), str(each.get("caption", ""))
        return
    assert part.folder is not None, "it has one of both"
    if not part.folder.is_dir():
        raise MissingFileError(f"There is no folder {part.folder}. Give the one with the clips.")
    endings = VIDEOS if part.is_video else PICTURES
    for file in sorted(each for each in part.folder.iterdir() if each.suffix.lower() in endings):
        caption = file.with_suffix(part.caption_extension)
        if not caption.is_file():
            raise InvalidInputError(f"{file.name} has no caption: write what it shows into {caption.name} beside it.")
        yield file, caption.read_text(encoding="utf-8").strip()


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        raise MissingFileError(f"There is no file {path}. Give the path of a .jsonl.")
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            each = json.loads(line)
        except ValueError:
            each = None
        if not isinstance(each, dict) or not {"image_path", "video_path"} & each.keys():
            raise InvalidInputError(
                f"Line {number} of {path.name} is no object with image_path or video_path, and caption. Correct it."
            )
        found.append(each)
    return found


def _excerpts(part: DatasetPart, path: Path, caption: str) -> Iterator[ClipFile]:
    video = probe_video(path)
    have = len(video.times) if not part.fps else int(video.duration_s * part.fps + 0.5)
    if part.extraction == "full":
        most = min(have, part.max_frames)
        yield ClipFile(path, caption, 0, most - (most - 1) % 4)
        return
    for frames in part.target_frames:
        count = have // frames if part.extraction == "chunk" else min(1, have // frames)
        yield from (ClipFile(path, caption, number * frames, frames) for number in range(count))
