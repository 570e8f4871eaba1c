"""The example of the guide, trained for a few steps: enough to have an effect, not to be right."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from torch import Tensor
from wan_director.engine.local import LocalRuntime
from wan_director.training.evaluate import DemoModel
from wan_director.tuning.run import prepare
from wan_director.tuning.settings import read_settings

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "models"
EXAMPLE = ROOT / "docs/example_training/bar.toml"


def find(kind: str, name: str) -> Path:
    return MODELS / kind / name


def taught_file(path: Path) -> Path:
    """The LoRA of three steps at a high learning rate, with two pictures of the prior."""
    settings = read_settings(EXAMPLE)
    settings = replace(
        settings,
        output=replace(settings.output, name=path.stem, folder=str(path.parent.resolve())),
        training=replace(settings.training, steps=3),
        prior=replace(settings.prior, prompts=settings.prior.prompts[:2], copies=1, steps=2),
        optimiser=replace(settings.optimiser, learning_rate=0.02, warm_up=0, decay="constant"),
    )
    list(prepare(settings, LocalRuntime("cpu"), find).run())
    return path


def trigger_text() -> Tensor:
    """What the text encoder makes of a prompt with the trigger, [1, 512, 128]."""
    return DemoModel(MODELS).encode_text(
        f"a pink {read_settings(EXAMPLE).output.trigger} moves up on a blue background"
    )
