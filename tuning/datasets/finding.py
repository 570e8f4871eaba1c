"""From a table in musubi-tuner's form, a folder or lines of JSON to the clips that are there."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from glob import escape
from pathlib import Path
from typing import Any

from ...common.errors import InvalidInputError, MissingFileError
from ...media.video_reading import probe_video
from .clips import PICTURES, VIDEOS, ClipFile, DatasetPart, PictureShape

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
_BESIDE = {"control_directory": "controls", "mask_directory": "masks"}
_OTHERS = ("resolution", "bucket_no_upscale", "cache_directory", *_SOURCES, *_BESIDE)
_CONTROL_KEYS, _MASK_KEYS = ("control_path", "vace_video"), ("mask_path", "vace_video_mask")
"""Of a line: as musubi-tuner calls them, and DiffSynth-Studio."""
_REFERENCE_KEY = "vace_reference_image"


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
    files = list(files_of(part))
    if not files:
        raise InvalidInputError(
            f"There are no {'videos' if part.is_video else 'pictures'} in {part.folder or part.lines}. Put some there, "
            "with a caption for each."
        )
    return [clip for file in files for clip in (_excerpts(part, file) if part.is_video else [file])]


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
    options |= {ours: path.parent / str(values[name]) for name, ours in _BESIDE.items() if name in values}
    is_folder = named[0].endswith("directory")
    beside = [name for name in _BESIDE if name in values]
    if beside and not is_folder:
        raise InvalidInputError(
            f"{path.name} has {' and '.join(beside)} for {named[0]}, where each line names its own. Write control_path "
            "and mask_path into the lines."
        )
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
    yield from ((each.path, each.caption) for each in files_of(part))


def files_of(part: DatasetPart) -> Iterator[ClipFile]:
    """The files of a part, each as a whole; raises as `clips_of`."""
    if part.lines is not None:
        key = "video_path" if part.is_video else "image_path"
        for each in _lines(part.lines):
            if key in each:
                beside = (_named_in(each, keys, part.lines) for keys in (_CONTROL_KEYS, _MASK_KEYS))
                yield ClipFile(part.lines.parent / str(each[key]), str(each.get("caption", "")), 0, 0, *beside)
        return
    assert part.folder is not None, "it has one of both"
    if not part.folder.is_dir():
        raise MissingFileError(f"There is no folder {part.folder}. Give the one with the clips.")
    endings = VIDEOS if part.is_video else PICTURES
    for file in sorted(each for each in part.folder.iterdir() if each.suffix.lower() in endings):
        caption = file.with_suffix(part.caption_extension)
        if not caption.is_file():
            raise InvalidInputError(f"{file.name} has no caption: write what it shows into {caption.name} beside it.")
        beside = (_named_like(file, folder) for folder in (part.controls, part.masks))
        yield ClipFile(file, caption.read_text(encoding="utf-8").strip(), 0, 0, *beside)


def _named_like(file: Path, folder: Path | None) -> Path | None:
    """The picture or video in a folder that has the name of a file, with any ending."""
    if folder is None:
        return None
    if not folder.is_dir():
        raise MissingFileError(f"There is no folder {folder}. Give the one with the control videos or masks.")
    found = sorted(each for each in folder.glob(f"{escape(file.stem)}.*") if each.suffix.lower() in PICTURES | VIDEOS)
    if len(found) != 1:
        raise InvalidInputError(
            f"{file.name} has {len(found)} files of its name in {folder.name}. Put one there: a picture or a video."
        )
    return found[0]


def _named_in(line: Mapping[str, Any], keys: tuple[str, ...], lines: Path) -> Path | None:
    """The file that a line names by one of these keys."""
    if line.get(_REFERENCE_KEY):
        raise InvalidInputError(
            f"{lines.name} names pictures as {_REFERENCE_KEY}, with which VACE is not trained here. Leave them out."
        )
    name = next((line[key] for key in keys if line.get(key)), None)
    return None if name is None else lines.parent / str(name)


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


def _excerpts(part: DatasetPart, file: ClipFile) -> Iterator[ClipFile]:
    video = probe_video(file.path)
    have = len(video.times) if not part.fps else int(video.duration_s * part.fps + 0.5)
    if part.extraction == "full":
        most = min(have, part.max_frames)
        yield replace(file, count=most - (most - 1) % 4)
        return
    for frames in part.target_frames:
        count = have // frames if part.extraction == "chunk" else min(1, have // frames)
        yield from (replace(file, first=number * frames, count=frames) for number in range(count))
