"""The node that fetches a video that a queue has made."""

from __future__ import annotations

from functools import partial
from typing import Any

from ...engine.runtime import Work
from ..api import io, one_sentence, ui
from ..hosts.host import host
from .addresses import client_of
from .fetched import FetchedVideo, checked_id, fetched, unknown_video
from .submit import CATEGORY, address_input


class WanDirectorFetch(io.ComfyNode):
    """The frames and the sound of a job."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanDirectorFetch",
            display_name="Wan Fetch",
            category=CATEGORY,
            description="Fetches the video of a job of a queue: waits until it is made, says how far it is, and gives "
            "its frames and its sound. All files of the job go to the output folder.",
            search_aliases=["queue", "remote", "render farm", "cluster", "get result", "download video", "job"],
            inputs=[
                io.String.Input("job_id", default="", tooltip="From Wan Submit, or from the queue's page."),
                address_input(),
                io.Boolean.Input(
                    "wait",
                    default=True,
                    tooltip="On: until the job has ended; Cancel ends the waiting, not the job. Off: a job that is not "
                    "done yet is refused with how far it is.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="images", tooltip="The frames of its first video, or its pictures."),
                io.Float.Output(display_name="fps", tooltip="How many there are per second; 16 of pictures alone."),
                io.Audio.Output(display_name="audio", tooltip="Its sound; nothing where it has none."),
            ],
            is_output_node=True,
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, job_id: str | None = None, address: str | None = None) -> bool:
        # Raised, not answered: ComfyUI shows an answer once for each of the widgets, an exception only once.
        if job_id is not None:
            one_sentence(checked_id)(job_id)
        if address is not None:
            one_sentence(client_of)(address)
        return True

    @classmethod
    @one_sentence
    def execute(cls, job_id: str, address: str, wait: bool) -> Any:
        client, id = client_of(address), checked_id(job_id)
        made = host().runtime.perform(Work(partial(fetched, client, id, wait), unknown_video))
        return io.NodeOutput(made.images, made.fps, made.audio, ui=_shown(made))


def _shown(made: FetchedVideo) -> Any:
    """The files on the canvas."""
    output = host().output_folder()
    saved = [
        ui.SavedResult(file.name, file.parent.relative_to(output).as_posix(), io.FolderType.output)
        for file in made.files[:1]
    ]
    is_video = made.files[0].suffix.lower() in (".mp4", ".webm", ".mov")
    return ui.PreviewVideo(saved) if is_video else ui.SavedImages(saved)
