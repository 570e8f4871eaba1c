"""The results of a job of a queue: waited for, downloaded, and read as frames and sound."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...cluster.client import QueueClient, patiently
from ...cluster.jobs import ENDED
from ...common.checking import check_string
from ...common.errors import ClusterError, InvalidInputError, UnknownValueError
from ...common.log import logger
from ...common.printable import printable_name
from ...media.faults import writing_to
from ..hosts.host import host
from ..load_video import VIDEO_ENDINGS
from ..sockets.sounds import native_audio
from .addresses import wait

_ID = re.compile(r"[0-9a-f]{16}")
_PICTURES = (".png", ".jpg", ".jpeg", ".webp")
_PICTURES_PER_SECOND = 16.0


class FetchedVideo(NamedTuple):
    """What a job has made.

    Attributes:
        images: [F, H, W, 3] in 0..1.
        fps: how many there are per second; pictures alone say nothing of it.
        audio: as a socket of the type AUDIO has it; None without sound.
        files: all that was downloaded, that which was read first.
    """

    images: Tensor
    fps: float
    audio: dict[str, Any] | None
    files: tuple[Path, ...]


def checked_id(job_id: str) -> str:
    """The id of a job.

    Raises:
        InvalidInputError: it is none.
    """
    check_string(job_id, "job_id")
    if not _ID.fullmatch(job_id.strip()):
        raise InvalidInputError(
            f"A job is named by 16 digits from 0 to f, got '{printable_name(job_id)[:40]}'. Connect job_id of Wan "
            "Submit, or copy the id from the queue's page."
        )
    return job_id.strip()


def fetched(client: QueueClient, id: str, waits: bool) -> FetchedVideo:
    """A job's video.

    Raises:
        ClusterError: it has failed, has no result yet, or none with pictures, or the queue does not answer.
    """
    job = _ended(client, id, waits)
    if job["state"] != "done":
        raise ClusterError(f"Job {id} is {job['state']} and has no result{_what_now(job)}")
    folder = host().output_folder() / "queue" / id
    with writing_to(folder):
        files = []
        for result in job["results"]:
            host().runtime.check_interrupt()
            files.append(patiently(lambda result=result: client.fetch(id, result, folder), wait))
    return _read(id, tuple(files))


def unknown_video() -> FetchedVideo:
    """Where a run is planned nobody knows what a job makes."""
    raise UnknownValueError("What a job of a queue makes is known once it is fetched.")


def _ended(client: QueueClient, id: str, waits: bool) -> dict[str, Any]:
    told, state = "", ""
    while True:
        job = patiently(lambda: client.job(id), wait)
        if job["state"] != state:
            state = job["state"]
            logger.info("Job %s is %s.", id, state)
        if state in ENDED or not waits:
            return job
        words = f"Job {id} is {state}" + (f": {job['said']}" if job["said"] else "")
        if words != told:
            told = words
            host().show_text(words)
        wait()


def _what_now(job: dict[str, Any]) -> str:
    if job["state"] not in ENDED:
        return f" yet ({job['said'] or 'it waits for a worker'}). Switch wait on, or run this again later."
    return f": {job['error']}" if job["error"] else ". Its page, or `wan-director again`, queues it anew."


def _read(id: str, files: tuple[Path, ...]) -> FetchedVideo:
    """The first video among the files, or else their pictures in order."""
    runtime, reading = host().runtime, host().files
    videos = [file for file in files if file.suffix.lower() in VIDEO_ENDINGS]
    pictures = [file for file in files if file.suffix.lower() in _PICTURES]
    if len(videos) + bool(pictures) > 1:
        logger.info("Job %s has made %d files, all in %s; the first video is read.", id, len(files), files[0].parent)
    if videos:
        images, fps = reading.video(videos[0], each=runtime.check_interrupt)
        sound = reading.sound(videos[0], each=runtime.check_interrupt)
        others = (file for file in files if file != videos[0])
        return FetchedVideo(images, fps, None if sound is None else native_audio(sound), (videos[0], *others))
    if not pictures:
        names = ", ".join(file.name for file in files) or "no files"
        raise ClusterError(
            f"Job {id} has made no video and no pictures, but {names}. They lie in {host().output_folder() / 'queue'}."
        )
    frames = [reading.pictures(file)[0] for file in sorted(pictures)]
    same = [frame for frame in frames if frame.shape[1:] == frames[0].shape[1:]]
    return FetchedVideo(torch.cat(same), _PICTURES_PER_SECOND, None, files)
