"""The node that makes clips to train on of a folder of videos."""

from __future__ import annotations

from typing import Any

from ...common.shapes import PictureSize
from ...engine.runtime import Work
from ...tuning.preparation.captions import written_by
from ...tuning.preparation.prepare import Ways
from ...tuning.preparation.settings import Preparation, with_filters
from ...tuning.preparation.whole import check_packages
from ..api import io, one_sentence
from ..hosts.host import host
from .clips import ClipsType
from .dataset import CATEGORY
from .prepare_inputs import prepare_inputs
from .preparing import check_widgets, filters_of, made_dataset, measured_of, told_of


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
        usual = Preparation(
            fps=fps,
            longest=longest,
            shortest=shortest,
            side=side,
            resolution=PictureSize(width, height),
            soft_cuts=soft_cuts,
            keep_bars=keep_bars,
            measured=measured_of(measure),
        )
        settings = with_filters(usual, filters_of(filters))
        check_packages(settings)
        runtime = host().runtime
        captioner = written_by(address.strip(), server_model.strip(), runtime) if address.strip() else None
        ways = Ways(trigger=trigger.strip(), captioner=captioner)
        found = runtime.perform(Work(lambda: made_dataset(source, name, settings, ways), lambda: None))
        clips, told = told_of(found)
        return io.NodeOutput(clips, name.strip(), told, ui={"text": [told]})
