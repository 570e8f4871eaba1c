"""The widgets of a training."""

from __future__ import annotations

from typing import Any

from ...sampling.validation import MAX_SEED
from ...tuning.learner import DECAYS, OPTIMISERS
from ...tuning.new_adapter import ADAPTER_KINDS, TARGETS
from ...tuning.noise import NOISE_KINDS, WEIGHT_KINDS
from ...tuning.settings import GIVEN_KINDS
from ..api import ADVANCED, io
from ..options.memory import budget_inputs


def main_inputs() -> list[Any]:
    """What everybody chooses."""
    return [
        io.String.Input(
            "name",
            default="my_lora",
            tooltip="The name of the file in models/loras, without .safetensors; it may begin with a subfolder.",
        ),
        io.String.Input(
            "trigger",
            default="",
            tooltip="The rare word that calls what is learned, as it stands in the captions. It is noted in the file.",
        ),
        io.Int.Input(
            "steps", default=1500, min=1, max=1_000_000, tooltip="How long is learned. A step sees one batch."
        ),
        io.Float.Input(
            "learning_rate",
            default=1e-4,
            min=1e-8,
            max=1.0,
            step=1e-5,
            round=1e-8,
            tooltip="How far each step goes. 0.0001 is usual; too high, and the loss rises.",
        ),
        io.Int.Input(
            "rank",
            default=16,
            min=1,
            max=1024,
            tooltip="The size of the factors: 8 to 32 for a subject, more for a style. The file grows with it.",
        ),
        io.Combo.Input(
            "given",
            options=list(GIVEN_KINDS),
            default=GIVEN_KINDS[0],
            tooltip="The frames of each clip that the model is told: none for text to video; first, or first_last, for "
            "image-to-video models; first or none for TI2V-5B.",
        ),
        io.String.Input(
            "prior_prompts",
            default="",
            multiline=True,
            tooltip="For a subject: a few general prompts, one a line (a cat in a garden). The model makes clips of "
            "them before it learns, and goes on being shown those, so that not every cat is yours. Empty for none.",
        ),
        io.Int.Input(
            "training_seed",
            default=0,
            min=0,
            max=MAX_SEED,
            tooltip="Of noise, order and first values. The same seed gives the same file.",
        ),
    ]  # fmt: skip


def adapter_inputs() -> list[Any]:
    """What of the model is learned."""
    return [
        _float("alpha", 16.0, 0.01, 4096.0, 1.0, "The factors are scaled by alpha / rank."),
        _combo("kind", ADAPTER_KINDS, "lora: factors. dora: with lengths of rows beside them, as in full training."),
        _combo("targets", TARGETS, "Which matrices of the blocks are learned."),
        io.String.Input(
            "blocks", default="all", tooltip="Which blocks: all, or numbers such as 0-9,20.", **ADVANCED
        ),
        io.Boolean.Input(
            "norms", default=False, tooltip="Whether the norms of the blocks are learned, too.", **ADVANCED
        ),
        io.Boolean.Input(
            "biases", default=False, tooltip="Whether the biases of the blocks are learned, too.", **ADVANCED
        ),
    ]  # fmt: skip


def noise_inputs() -> list[Any]:
    """How much noise the clips get."""
    return [
        _combo("noise", NOISE_KINDS, "How the amounts of noise are spread: the middle more often, or all alike."),
        _float("shift", 3.0, 0.01, 100.0, 0.5, "Higher: more noise, so more of the shape than of the detail."),
        _float(
            "lowest", 0.0, 0.0, 1.0, 0.001, "The least noise: for the high-noise model of T2V-A14B 0.875, I2V-A14B 0.9."
        ),
        _float(
            "highest", 1.0, 0.0, 1.0, 0.001, "The most noise: for the low-noise model of T2V-A14B 0.875, I2V-A14B 0.9."
        ),
        _combo("weighting", WEIGHT_KINDS, "How much the error at each amount of noise counts."),
    ]  # fmt: skip


def optimiser_inputs() -> list[Any]:
    """How numbers are moved."""
    return [
        _combo("optimiser", OPTIMISERS, "adamw8bit keeps its state in 8 bits a number; it needs bitsandbytes."),
        _int("warm_up", 20, 0, 1_000_000, "Steps in which the learning rate rises to its value."),
        _combo("decay", DECAYS, "How the learning rate goes on: stays, or falls to zero until the last step."),
        _float("weight_decay", 0.01, 0.0, 10.0, 0.01, "How much large numbers are held back."),
        _float("clip", 1.0, 0.0, 1000.0, 0.1, "The length that a step's gradient has at most; 0 for any."),
        _float("average", 0.0, 0.0, 0.9999, 0.01, "0.99 saves the mean of the last steps (EMA); 0 the last values."),
        _int("turns", 1, 1, 1024, "Batches whose gradients a step adds up: as a larger batch, without its memory."),
        _float("caption_drop", 0.05, 0.0, 1.0, 0.01, "The part of the clips that are seen without a caption."),
    ]


def prior_inputs() -> list[Any]:
    """The clips that the model makes of its prior_prompts."""
    return [
        _int("prior_copies", 1, 1, 1000, "How many clips of each prompt are made."),
        _float("prior_weight", 1.0, 0.0, 100.0, 0.1, "How much the prior counts in the loss, beside the clips."),
        _int("prior_batch", 1, 1, 1024, "How many clips of the prior each step sees."),
        _int("prior_width", 832, 16, 4096, "The width of the clips that are made.", step=16),
        _int("prior_height", 480, 16, 4096, "Their height.", step=16),
        _int("prior_frames", 1, 1, 1025, "Their length, 1 + 4k frames.", step=4),
        _int("prior_steps", 20, 1, 1000, "The sampler's steps they are made with."),
        _float("prior_cfg", 5.0, 0.0, 100.0, 0.5, "The guidance scale they are made with."),
        _float("prior_shift", 5.0, 0.01, 100.0, 0.5, "The shift they are made with."),
    ]


def file_inputs() -> list[Any]:
    """About the file, and the memory that may be taken."""
    return [
        _int("save_every", 100, 1, 1_000_000, "Steps after which the state is kept, to go on from after a crash."),
        io.Boolean.Input(
            "replace",
            default=False,
            tooltip="Whether a file of this name that another training has made may be replaced. One that this very "
            "training made is used as it is, without training again.",
            **ADVANCED,
        ),
        *budget_inputs(optional=True, **ADVANCED),
    ]


def _combo(name: str, options: Any, tooltip: str) -> Any:
    return io.Combo.Input(name, options=list(options), default=options[0], tooltip=tooltip, **ADVANCED)


def _int(name: str, default: int, low: int, high: int, tooltip: str, step: int = 1) -> Any:
    return io.Int.Input(name, default=default, min=low, max=high, step=step, tooltip=tooltip, **ADVANCED)


def _float(name: str, default: float, low: float, high: float, step: float, tooltip: str) -> Any:
    return io.Float.Input(
        name, default=default, min=low, max=high, step=step, round=0.0001, tooltip=tooltip, **ADVANCED
    )
