"""What a run tells of its step cache: what it spared."""

from __future__ import annotations

from dataclasses import replace

from ....common.log import logger
from ....sampling.cache import NO_CACHE, tally_of
from ....sampling.state import SamplerState
from ...models import VideoModel, with_policies
from ...runtime import Progress


def with_useful_cache(model: VideoModel, steps: int) -> VideoModel:
    """The model, or each of two experts, without its step cache where a run has too few steps for it, which is told."""
    experts = [model] if model.low_noise is None else [model, model.low_noise.model]
    fewest = max(expert.policies.cache.fewest_steps for expert in experts)
    if not 0 < steps < fewest:
        return model
    logger.info(
        "The step cache is off in this run of %d steps: with fewer than %d each changes too much to be spared.",
        steps, fewest,
    )  # fmt: skip
    return with_policies(
        model,
        lambda policies: replace(policies, cache=NO_CACHE) if steps < policies.cache.fewest_steps else policies,
    )


def tell_spared(progress: Progress, state: SamplerState) -> None:
    """Says beside the progress how many passes of the model were spared so far."""
    tally = tally_of(state.cache)
    if tally.spared:
        progress.note(f"{tally.spared} of {tally.asked} passes spared")


def tell_tally(state: SamplerState) -> None:
    """Says after a run in one line of the log what the step cache spared, and how far answers may be off."""
    tally = tally_of(state.cache)
    if tally.asked:
        logger.info(
            "The step cache spared %d of %d passes of the model (%.0f %%); its estimated change is at most %.2f.",
            tally.spared, tally.asked, 100 * tally.spared / tally.asked, tally.change,
        )  # fmt: skip
