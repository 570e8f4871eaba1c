"""The result of a node that saves: asked for beforehand, written, shown on the canvas, or kept elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from ...common.errors import WanDirectorError
from ...common.log import logger
from ...engine.progress import Counted
from ...engine.runtime import Progress, Work
from ...media.place import SavePlace
from ...media.sound.clip import Sound
from ...media.video_writing import GIF, PNG_FRAMES, check_format, save_video
from ..api import io, ui
from ..hosts.host import host
from ..sockets.sounds import fitted_sound, sound_of
from ..writing.remembered import METADATA_KEY, texts_in
from .names import NodeValues
from .place import check_found, check_place


class FileOptions(NamedTuple):
    """The widgets about the file, and the sound that goes into it."""

    fps: float
    filename_prefix: str
    format: str
    quality: int
    sound: Sound | None = None

    def with_sound(self, audio: Any, frames: int) -> FileOptions:
        """The same with what came over a socket of the type AUDIO, as long as so many frames are; None is no sound.

        Raises:
            InvalidInputError: it is no sound, or files of this format have no room for it.
            MissingPackageError: the encoder is missing.
        """
        sound = sound_of(audio)
        return self if sound is None else self._replace(sound=fitted_sound(sound, frames, self.fps, self.format))


def check_file(filename_prefix: str | None, format: str | None) -> None:
    """Asks, before anything runs, whether a file can be written; what comes over a wire is None.

    Raises:
        WanDirectorError: name, folder, disk or encoder will not do.
    """
    if format is not None:
        check_format(format)
    if filename_prefix is not None:
        check_place(filename_prefix, host().output_folder())


def saved_result(
    frames: Iterable[Tensor],
    size: tuple[int, int],
    options: FileOptions,
    hidden: Any,
    keep: Callable[[dict[str, Any]], str],
) -> Any:
    """Saves frames [H, W, 3] of a size (height, width), and gives what the canvas shows.

    When that fails, `keep` saves what would be lost, with the metadata, and its sentence follows that of the failure;
    an empty one says that there is nothing.

    Args:
        hidden: the node's hidden values: prompt and extra_pnginfo.
    """
    metadata = metadata_of(hidden)

    def write() -> tuple[SavePlace, list[Path]]:
        place = found_place(options.filename_prefix, size, hidden)
        with _counted(frames) as told:
            return place, save_video(
                told,
                place,
                format=options.format,
                fps=options.fps,
                quality=options.quality,
                metadata=metadata,
                check=host().runtime.check_interrupt,
                sound=options.sound,
            )

    def kept() -> str:
        sentence = keep(metadata)
        return f"{sentence} The sound is not kept with them." if sentence and options.sound is not None else sentence

    saved = saved_files(write, kept)
    # The canvas plays what is called animated as a video; a GIF is a picture to it.
    return ui.SavedImages(saved) if options.format in (PNG_FRAMES, GIF) else ui.PreviewVideo(saved)


@contextmanager
def _counted(frames: Iterable[Tensor]) -> Iterator[Iterable[Tensor]]:
    """The frames, told of as they are taken; of those in the making, which have no length, their maker tells."""
    if not isinstance(frames, Sized):
        yield frames
        return
    with host().runtime.progress(Counted("Saving", "frame", len(frames))) as progress:
        yield _told(frames, progress)


def _told(frames: Iterable[Tensor], progress: Progress) -> Iterator[Tensor]:
    for done, frame in enumerate(frames, start=1):
        yield frame
        progress.update(done)
    progress.note("the encoder ends the file")


def metadata_of(hidden: Any) -> dict[str, Any]:
    """What saved files carry, name -> JSON data; hidden: a node's prompt and extra_pnginfo."""
    if not host().saves_metadata():
        return {}
    written = texts_in(hidden.prompt)
    return {"prompt": hidden.prompt, **(hidden.extra_pnginfo or {}), **({METADATA_KEY: written} if written else {})}


def found_place(filename_prefix: str, size: tuple[int, int], hidden: Any) -> SavePlace:
    """Where a result of a size (height, width) goes, with all values of its name.

    Raises:
        WanDirectorError: the name or the folder will not do.
    """
    values = NodeValues(hidden.prompt, (hidden.extra_pnginfo or {}).get("workflow"))
    place = host().save_place(filename_prefix, size[1], size[0], values)
    check_found(place)
    return place


def saved_files(write: Callable[[], tuple[SavePlace, list[Path]]], keep: Callable[[], str]) -> list[Any]:
    """What `write` has saved, for the canvas; when it fails, `keep`'s sentence follows that of the failure."""
    try:
        written = host().runtime.perform(Work(write, lambda: None))
    except WanDirectorError as error:
        kept = keep()
        refusal = type(error)(*error.parts, f" {kept}") if kept else error
    except (RuntimeError, MemoryError):  # out of memory while frames were made
        kept = keep()
        if kept:
            logger.warning("%s", kept)
        raise
    else:
        if written is None:  # a plan writes nothing
            return []
        place, files = written
        return [ui.SavedResult(file.name, place.subfolder_of(file), io.FolderType.output) for file in files]
    raise refusal
