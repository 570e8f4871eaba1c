"""A model with what is learned on it, its weights and inputs where a plan says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from torch import Tensor

from ...dit.adapters import Adapter, AppliedAdapter, adapted
from ...dit.inputs import DitInputs
from ...engine import VideoModel
from ...memory.training import streaming_both_ways
from ..objective import Predict
from .plan import TrainingPlan


@contextmanager
def arranged(model: VideoModel, adapter: Adapter, plan: TrainingPlan) -> Iterator[Predict]:
    """The model with an adapter that is learned, as steps of training ask it. Go back through each before the next."""
    residence, places = model.residence, plan.places
    beside = plan.device_bytes - plan.choice.weight_bytes
    with (
        residence.loaded(beside, places.swap) as loaded,
        adapted(loaded, [AppliedAdapter(adapter)]),
        streaming_both_ways(loaded.streamed_blocks, places, residence.device, residence.slabs) as (stream, way_back),
    ):
        execution = replace(
            model.execution,
            may_overwrite=False,
            multiply="dense",
            checkpoints=True,
            part_checkpoints=plan.part_checkpoints,
            stream=stream,
            way_back=way_back,
        )

        def predict(inputs: DitInputs) -> Tensor:
            return loaded(inputs, execution)

        yield predict
