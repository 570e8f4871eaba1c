"""From a folder of videos to clips to train on, in an order that goes on where an earlier run was broken off."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from ...common.records import record
from ...engine.progress import Counted
from ...engine.runtime import Runtime
from ...media.faults import writing_to
from .captions import CAPTION_ENDING, Captioner, caption_beside, with_trigger
from .duplicates import originals
from .excerpts import Excerpt, excerpts_of
from .keeping import kept, key_of
from .measuring import Measured
from .results.clip_files import write_caption, written_size
from .results.dataset import CLIPS, LINES, write_dataset
from .results.records import Clip, PreparedClips, RefusedVideo, reasons_of
from .settings import Preparation
from .sources import RawVideo, video_files
from .spreading import Spreading, spread_over
from .working import FOUND, Found, Preparing

Item = TypeVar("Item")
Answer = TypeVar("Answer")


@record
class Ways:
    """How the work is done.

    Attributes:
        jobs: processes.
        cluster: the address of a Ray cluster; "" for none.
        trigger: a word that each caption is to have.
        captioner: writes captions where there is none; None leaves them empty.
    """

    jobs: int = 1
    cluster: str = ""
    trigger: str = ""
    captioner: Captioner | None = None


def prepare(folder: Path, out: Path, settings: Preparation, ways: Ways, runtime: Runtime) -> PreparedClips:
    """Prepares the videos of a folder and writes clips, captions and the files of the dataset.

    Raises:
        InvalidInputError: there is no video.
        MissingPackageError: a package that is wanted is not installed.
        OutputError: the results could not be written.
        WritingError: the model that is to write captions gives none.
    """
    files = video_files(folder, out)
    with writing_to(out):
        (out / CLIPS).mkdir(parents=True, exist_ok=True)
    run = Preparing(folder, out, settings)
    with spread_over(ways.jobs, ways.cluster) as spread:
        each = _Each(spread, runtime)
        clips, refused = _measured(run, each, files)
        clips = _with_captions(_without_duplicates(clips, run), run, ways, runtime)
        wanted = [clip for clip in clips if clip.is_kept]
        _remove_others(out, {clip.name(settings) for clip in wanted})
        each.done(run.write, wanted, Counted("Writing clips", "clip", len(wanted)))
    for clip in wanted:
        write_caption(clip, out / CLIPS, settings)
    prepared = PreparedClips(tuple(clips), tuple(refused), settings)
    write_dataset(prepared, out)
    return prepared


class _Each:
    """Does work for each of some things, and tells how far it is."""

    def __init__(self, spread: Spreading, runtime: Runtime) -> None:
        self._spread, self._runtime = spread, runtime

    def done(self, work: Callable[[Item], Answer], items: Sequence[Item], counted: Counted) -> list[Answer]:
        answers: list[Answer] = []
        with self._runtime.progress(counted) as progress:
            for answer in self._spread(work, items):
                self._runtime.check_interrupt()
                answers.append(answer)
                progress.update(len(answers))
        return answers


def _measured(run: Preparing, each: _Each, files: Sequence[Path]) -> tuple[list[Clip], list[RefusedVideo]]:
    """The clips of all videos with their scores, and what cannot be used."""
    found = each.done(run.look_at, files, Counted("Looking for cuts", "video", len(files)))
    refused = [refusal for one in found for refusal in one.refused]
    tasks, too_short = _tasks(found, run.settings)
    measured = each.done(run.measure, tasks, Counted("Measuring clips", "clip", len(tasks)))
    refused += [*too_short, *(answer for answer in measured if isinstance(answer, RefusedVideo))]
    return [
        _clip(source, excerpt, answer, run.settings)
        for (source, excerpt), answer in zip(tasks, measured)
        if isinstance(answer, Measured)
    ], refused


def _tasks(found: Sequence[Found], settings: Preparation) -> tuple[list[tuple[RawVideo, Excerpt]], list[RefusedVideo]]:
    tasks: list[tuple[RawVideo, Excerpt]] = []
    too_short = []
    for source, shots, _ in found:
        if source is None:
            continue
        excerpts = [
            excerpt
            for shot in shots
            for excerpt in excerpts_of(source.video, shot, settings.fps, settings.longest, settings.shortest)
        ]
        tasks += [(source, excerpt) for excerpt in excerpts]
        if not excerpts:
            longest = max((shot.end - shot.first for shot in shots), default=0)
            too_short.append(
                RefusedVideo(
                    source.name,
                    f"No shot of it fills {settings.shortest} frames at {settings.fps:g} per second; the longest "
                    f"has {longest} pictures. Allow shorter clips: a lower `shortest`.",
                )
            )
    return tasks, too_short


def _clip(source: RawVideo, excerpt: Excerpt, measured: Measured, settings: Preparation) -> Clip:
    width, height = written_size(source.shown_size, measured, settings)
    return Clip(source, excerpt, measured, width, height, reasons_of(measured, settings))


def _without_duplicates(clips: Sequence[Clip], run: Preparing) -> list[Clip]:
    """The clips, of which those that repeat another kept one have that as a reason more.

    The largest is kept, of several such one whose video has a caption, and of several such the sharpest: a copy that
    was compressed once more is not.
    """
    good = [number for number, clip in enumerate(clips) if clip.is_kept]
    kept_clips = [clips[number] for number in good]
    worth = [
        (clip.width * clip.height, _has_caption(clip, run), clip.measured.scores["sharpness"]) for clip in kept_clips
    ]
    made = list(clips)
    for number, original in zip(good, originals([clip.measured.hashes for clip in kept_clips], worth)):
        if original is not None:
            why = f"duplicate of {kept_clips[original].name(run.settings)}"
            made[number] = replace(clips[number], why=(why,))
    return made


def _has_caption(clip: Clip, run: Preparing) -> bool:
    return bool(caption_beside(run.folder / clip.source.name))


def _with_captions(clips: Sequence[Clip], run: Preparing, ways: Ways, runtime: Runtime) -> list[Clip]:
    kept_count = sum(clip.is_kept for clip in clips)
    made = []
    with runtime.progress(Counted("Writing captions", "clip", kept_count)) as progress:
        done = 0
        for clip in clips:
            runtime.check_interrupt()
            made.append(replace(clip, caption=_caption(clip, run, ways)) if clip.is_kept else clip)
            done += clip.is_kept
            progress.update(done)
    return made


def _caption(clip: Clip, run: Preparing, ways: Ways) -> str:
    """One that is there already, which may have been corrected by hand, else the video's own, else a new one.

    The trigger alone, which an earlier run wrote where there was no caption, is none.
    """
    path = run.out / CLIPS / f"{clip.name(run.settings)}{CAPTION_ENDING}"
    written = caption_beside(path)
    if written and written != ways.trigger:
        return written
    text = caption_beside(run.folder / clip.source.name)
    captioner = ways.captioner
    if not text and captioner is not None:
        key = key_of("caption", clip.source.digest, clip.excerpt.numbers, clip.measured.shown)
        text = kept(run.out / FOUND, key, lambda: captioner(clip.measured.shown, clip.measured.camera))
    return with_trigger(ways.trigger, text)


def _remove_others(out: Path, names: set[str]) -> None:
    """Removes clips that an earlier run kept and this one does not; their captions stay, for a later one."""
    for name in _names_before(out):
        if name not in names and "/" not in name and "\\" not in name:
            with writing_to(out):
                (out / CLIPS / f"{name}.mp4").unlink(missing_ok=True)


def _names_before(out: Path) -> Iterator[str]:
    try:
        lines = (out / LINES).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return
    for line in lines:
        try:
            path = json.loads(line)["video_path"]
        except (ValueError, KeyError, TypeError):
            continue
        if isinstance(path, str) and path.startswith(f"{CLIPS}/") and path.endswith(".mp4"):
            yield path[len(CLIPS) + 1 : -len(".mp4")]
