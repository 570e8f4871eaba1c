"""A model with what is learned on it, its weights and inputs where a plan says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from torch import Tensor

from ...common.records import record
from ...dit.adapters import Adapter, AppliedAdapter, adapted
from ...dit.inputs import DitInputs
from ...engine import VideoModel
from ...memory.training import streaming_both_ways
from ..objective import Predict
from .plan import TrainingPlan


@record
class Arrangement:
    """Where what is, while a model learns.

    Attributes:
        plan: by which.
    """

    plan: TrainingPlan

    @contextmanager
    def learning(self, model: VideoModel, adapter: Adapter, check: Callable[[], None]) -> Iterator[Predict]:
        """The model with an adapter that is learned, as steps ask it. Go back through each before the next.

        Args:
            check: called after each block; may raise to stop.
        """
        residence, places = model.residence, self.plan.places
        device, slabs = residence.device, residence.slabs
        beside = self.plan.device_bytes - self.plan.choice.weight_bytes
        with (
            residence.loaded(beside, places.swap) as loaded,
            adapted(loaded, [AppliedAdapter(adapter)]),
            streaming_both_ways(loaded.streamed_blocks, places, device, slabs) as (
                stream,
                way_back,
            ),
        ):
            execution = replace(
                model.execution,
                may_overwrite=False,
                multiply="dense",
                checkpoints=True,
                part_checkpoints=self.plan.part_checkpoints,
                stream=stream,
                way_back=way_back,
                on_block=lambda _block, _tokens: check(),
            )

            def predict(inputs: DitInputs) -> Tensor:
                return loaded(inputs, execution)

            yield predict
