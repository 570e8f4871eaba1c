"""The node that makes clips to train on of a folder of videos."""

from __future__ import annotations

from functools import partial
from typing import Any

from ...engine.runtime import Work
from ..api import io, one_sentence
from ..hosts.host import host
from .clips import ClipsType
from .dataset import CATEGORY
from .prepare_inputs import prepare_inputs


class WanDirectorPrepareClips(io.ComfyNode):
    """Clips of one shot each, with captions, of videos of any kind."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanDirectorPrepareClips",
            display_name="Wan Prepare Clips",
            category=CATEGORY,
            description="Cuts the videos of a folder into clips of one shot, measures each, keeps the good ones with "
            "the reason for every other, and writes them with captions and a report. It takes OpenCV and "
            "PySceneDetect.",
            search_aliases=["scene detection", "split video", "data preparation", "captions", "filter clips", "shots"],
            inputs=prepare_inputs(),
            outputs=[
                ClipsType.Output(display_name="dataset", tooltip="The clips that are kept, for Wan Train LoRA."),
                io.String.Output(
                    display_name="folder",
                    tooltip="The folder in ComfyUI's output folder, for source of Wan Dataset. Look into its "
                    "report.html: it shows each clip, and why others were dropped.",
                ),
                io.String.Output(display_name="found", tooltip="What was kept and what was not, in words."),
            ],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, source: str | None = None, name: str | None = None, filters: str | None = None) -> bool:
        from .preparing import check_widgets  # as in execute

        # Raised, not answered: ComfyUI shows an answer once for each of the widgets, an exception only once.
        one_sentence(check_widgets)(source, name, filters)
        return True

    @classmethod
    def fingerprint_inputs(cls, **_: Any) -> float:
        return float("nan")  # the videos may have changed; what was found out about them is not found out again

    @classmethod
    @one_sentence
    def execute(
        cls, source: str, name: str, trigger: str, fps: float, longest: int, shortest: int, side: int, width: int,
        height: int, filters: str, soft_cuts: bool, keep_bars: bool, measure: str, address: str, server_model: str,
    ) -> Any:  # fmt: skip
        from .preparing import PrepareWidgets, made_dataset, told_of  # loaded when they are used: they are many

        widgets = PrepareWidgets(
            source, name, trigger, fps, longest, shortest, side, width, height, filters, soft_cuts, keep_bars, measure,
            address, server_model,
        )  # fmt: skip
        settings, ways = widgets.settings(), widgets.ways()
        made = host().runtime.perform(Work(partial(made_dataset, source, name, settings, ways), lambda: None))
        clips, told = told_of(made)
        return io.NodeOutput(clips, name.strip(), told, ui={"text": [told]})
