"""A film on its way to its file."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import Any

from ...common.shapes import VideoShape
from ...engine.films.film import film_frames, outline_film
from ...engine.films.kept import KeptFilm
from ...engine.films.shape import FilmShape
from ...media.video_writing import PNG_FRAMES
from ..hosts.host import host
from ..saving.place import check_room
from ..saving.result import FileOptions, saved_result
from .clips import FilmClips

_VIDEO_BYTES, _PNG_BYTES = 0.005, 0.1
"""Of a pixel in a file: a quarter of what dull videos take, so that nothing is refused that would fit."""


def check_film_room(shape: FilmShape, video: VideoShape, format: str) -> None:
    """Refuses a film that the output folder has no room for.

    Raises:
        OutputError: it has none.
    """
    each = _PNG_BYTES if format == PNG_FRAMES else _VIDEO_BYTES
    needed = round(shape.frames * video.width * video.height * each)
    what = f"A film of {shape.frames:,} frames of {video.width} x {video.height}"
    check_room(host().output_folder(), needed, what)


def saved_film(maker: FilmClips, options: FileOptions, hidden: Any) -> Any:
    """Makes a film, saves it, and gives what the canvas shows; finished clips are kept until it is saved."""
    runtime, shape, video = host().runtime, maker.shape, maker.video
    outline_film(shape, maker, runtime)
    film = runtime.kept_films.begin()
    with contextlib.closing(film_frames(shape, maker, film, runtime.kept_runs)) as frames:
        shown = saved_result(frames, (video.height, video.width), options, hidden, partial(_kept, film, shape))
    film.end()
    return shown


def _kept(film: KeptFilm, shape: FilmShape, _metadata: object) -> str:
    if not film.finished:
        return ""
    return (
        f"The first {film.finished} of {shape.clips} clips are kept: when the cause is mended, the same workflow goes "
        "on after them."
    )
