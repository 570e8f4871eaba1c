"""The node that spares steps of a model's runs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ...common.checking import check_number, check_string
from ...common.errors import InvalidInputError
from ...common.log import logger
from ...engine.models import VideoModel, with_policies
from ...media.place import SavePlace
from ...sampling.cache import NO_CACHE, Cache, RatioRecorder, StepCacheSettings
from ...sampling.guidance import PartOfSteps
from ...sampling.validation import find_choice
from ..api import ADVANCED, io, one_sentence
from ..hosts.host import host
from ..loaders import WanModelType
from ..sockets.ratio_tables import read_ratios, write_ratios

RECORD = "record"
METHODS = ("easycache", "magcache", "teacache", RECORD)
_USUAL = -1.0


class WanDirectorStepCache(io.ComfyNode):
    """Steps of a model's runs that change little are made from earlier ones."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanDirectorStepCache",
            display_name="Wan Step Cache",
            category="Wan Director/options",
            description="Saves about half of the time of a run of 20 and more steps: where the model's answer changes "
            "little from step to step, it is made from the last one, and the model does not run. The log says how "
            "many passes were spared. Of no use with models and LoRAs of few steps. Threshold 0 changes nothing.",
            search_aliases=[
                "easycache", "magcache", "teacache", "cache", "speed up", "faster", "skip steps", "first block cache",
                "lazycache",
            ],
            inputs=[
                WanModelType.Input("model", tooltip="From Load Wan Model, Wan LoRA or Wan Two Experts."),
                io.Combo.Input(
                    "method",
                    options=list(METHODS),
                    default="easycache",
                    tooltip="easycache measures the run itself and fits any model. magcache and teacache go by figures "
                    "of the model. record makes such figures for magcache in a run of full length.",
                ),
                io.Float.Input(
                    "threshold",
                    default=_USUAL,
                    min=_USUAL,
                    max=3.0,
                    step=0.01,
                    round=0.001,
                    tooltip="How far answers may drift: more is faster and less exact, 0 is off. -1: the usual one of "
                    "the method and the model, 0.2 for easycache.",
                ),
                _part("start", 0.2, "From which part of the steps on some are spared; the first lay out the video."),
                _part("end", 0.95, "Up to which part of the steps some are spared; the last ones make details."),
                io.Int.Input(
                    "most_in_a_row",
                    default=3,
                    min=0,
                    max=100,
                    tooltip="How many steps in a row are spared at most; 0 for any number.",
                    **ADVANCED,
                ),
                io.String.Input(
                    "table",
                    default="",
                    tooltip="Only magcache and record: a file of figures, .json. Empty: those known of the model, "
                    "and a new file in output/step_cache.",
                    **ADVANCED,
                ),
            ],
            outputs=[
                WanModelType.Output(display_name="model", tooltip="The model, for the sampler or another option.")
            ],
        )  # fmt: skip

    @classmethod
    @one_sentence
    def execute(
        cls,
        model: VideoModel,
        method: str,
        threshold: float,
        start: float,
        end: float,
        most_in_a_row: int,
        table: str,
    ) -> Any:
        find_choice(dict.fromkeys(METHODS), method, "step cache")
        _check(threshold, {"start": start, "end": end, "most_in_a_row": most_in_a_row}, table)
        if not threshold:
            return io.NodeOutput(model)
        for expert in (model,) if model.low_noise is None else (model, model.low_noise.model):
            if expert.policies.cache != NO_CACHE:
                raise InvalidInputError(
                    f"{expert.file} comes with a step cache already, and a run has one. Take one Wan Step Cache away."
                )
        if table.strip() and method not in ("magcache", RECORD):
            logger.warning("The table of the step cache does nothing: %s goes without. Choose magcache for it.", method)
        if method == RECORD:
            return io.NodeOutput(_with_cache(model, _recorder(model, table)))
        settings = StepCacheSettings(
            method, None if threshold < 0 else threshold, PartOfSteps(start, end), most_in_a_row
        )
        ratios = read_ratios(table.strip(), model.spec.config) if method == "magcache" and table.strip() else ()
        is_pair = model.low_noise is not None
        return io.NodeOutput(_with_cache(model, settings.of(model.spec.config, model.file, ratios, is_pair=is_pair)))


def _part(name: str, default: float, tooltip: str) -> Any:
    return io.Float.Input(name, default=default, min=0.0, max=1.0, step=0.01, round=0.001, tooltip=tooltip, **ADVANCED)


def _check(threshold: float, numbers: dict[str, Any], table: str) -> None:
    """Refuses what no widget gives, as linked values may."""
    for name, value in {"threshold": threshold, **numbers}.items():
        check_number(value, name)
    check_string(table, "table")
    if threshold < 0 and threshold != _USUAL:
        raise InvalidInputError(
            f"The threshold of a step cache is 0 (off) or more, or {_USUAL:g} for the usual one, got {threshold:g}."
        )


def _recorder(model: VideoModel, table: str) -> Cache:
    name, config = table.strip().removesuffix(".json") or model.spec.path.stem, model.spec.config

    def place() -> SavePlace:
        return host().save_place(f"step_cache/{name}", 0, 0)

    place()  # refuses a bad name before the run; each run then takes the next number
    return RatioRecorder(lambda ratios: write_ratios(ratios, place, config))


def _with_cache(model: VideoModel, cache: Cache) -> VideoModel:
    return with_policies(model, lambda policies: replace(policies, cache=cache))
