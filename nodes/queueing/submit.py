"""The node that has a video made elsewhere."""

from __future__ import annotations

from typing import Any

from ...cluster.jobs import PRIORITIES
from ...common.log import logger
from ...engine.runtime import Work
from ..api import ADVANCED, io, one_sentence
from ..hosts.host import host
from ..saving.result import check_file
from ..video import file_inputs
from .addresses import client_of

CATEGORY = "Wan Director/queue"
_NO_JOB = "0" * 16
"""Stands for a job's id where a run is planned."""


def address_input() -> Any:
    """The widget about the queue, the same in both nodes."""
    return io.String.Input(
        "address",
        default="",
        tooltip="Of the queue, as `wan-director serve` prints it: http://127.0.0.1:8189. Empty: that, or what "
        "WAN_DIRECTOR_QUEUE says. Its token is never part of a workflow, see the help page.",
    )


class WanDirectorSubmit(io.ComfyNode):
    """The graph before it as a job of a queue."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanDirectorSubmit",
            display_name="Wan Submit",
            category=CATEGORY,
            description="Sends the graph before it to a queue of `wan-director serve`, which makes the video on other "
            "machines and saves it there. Nothing of it runs here; the job's id comes at once, for Wan Fetch.",
            search_aliases=["queue", "remote", "render farm", "cluster", "distributed", "send job", "ray"],
            inputs=[
                io.Image.Input(
                    "images",
                    lazy=True,
                    tooltip="The frames as for Wan Save Video. What makes them runs on the queue's machines, not here.",
                ),
                address_input(),
                io.String.Input("title", default="", tooltip="In the list of jobs."),
                io.Int.Input(
                    "priority",
                    default=0,
                    min=PRIORITIES[0],
                    max=PRIORITIES[1],
                    tooltip="Jobs with a higher one come first.",
                    **ADVANCED,
                ),
                *file_inputs(),
                io.Audio.Input("audio", lazy=True, optional=True, tooltip="The sound of the video, made there, too."),
            ],
            outputs=[io.String.Output(display_name="job_id", tooltip="Of the job, for Wan Fetch or the queue's page.")],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt, io.Hidden.extra_pnginfo],
            is_output_node=True,
        )  # fmt: skip

    @classmethod
    def check_lazy_status(cls, **_inputs: Any) -> list[str]:
        """Nothing of what is connected is made here."""
        return []

    @classmethod
    def validate_inputs(
        cls, address: str | None = None, filename_prefix: str | None = None, format: str | None = None
    ) -> bool:
        # Raised, not answered: ComfyUI shows an answer once for each of the widgets, an exception only once.
        if address is not None:
            one_sentence(client_of)(address)
        one_sentence(check_file)(filename_prefix, format)
        return True

    @classmethod
    @one_sentence
    def execute(
        cls, images: Any, address: str, title: str, priority: int, fps: float, filename_prefix: str, format: str,
        quality: int, audio: Any = None,
    ) -> Any:  # fmt: skip
        from .upstream import job_before, submitted  # with stand-ins for ComfyUI's own nodes, which others do not need

        client, hidden = client_of(address), cls.hidden
        job = job_before(hidden.prompt, hidden.unique_id)
        workflow = (hidden.extra_pnginfo or {}).get("workflow")
        send = Work(lambda: submitted(client, job, workflow, title, priority), lambda: _NO_JOB)
        id = host().runtime.perform(send)
        logger.info("Job %s is queued at %s.", id, client.url)
        host().show_text(f"Job {id}")
        return io.NodeOutput(id, ui={"text": [id]})
