"""What is learned, with its optimiser and the average of its values: everything that a step of training changes."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..common.checking import choice_of
from ..common.errors import InvalidInputError, MissingPackageError
from ..common.records import record
from ..dit.adapters import Adapter, trainable, trainable_parameters

OptimiserKind = Literal["adamw", "adamw8bit"]
OPTIMISERS: tuple[OptimiserKind, ...] = ("adamw", "adamw8bit")
Decay = Literal["constant", "linear", "cosine"]
DECAYS: tuple[Decay, ...] = ("constant", "linear", "cosine")
_WHOLE = "int"


@record
class OptimiserSettings:
    """How the numbers are moved.

    Attributes:
        kind: AdamW, or the same with a state of 8 bits a number (bitsandbytes).
        learning_rate: at its highest.
        warm_up: steps in which it rises to that.
        decay: how it goes on to the last step: stays, or falls to zero in a straight line or half a cosine.
        weight_decay: by AdamW.
        clip: length that the gradient of a step has at most; 0 for any.
        average: how much of the average of all steps a new one leaves (EMA), for the file; 0 saves the last values.

    Raises:
        InvalidInputError: a choice that there is not, or numbers that make no sense.
    """

    kind: OptimiserKind = "adamw"
    learning_rate: float = 1e-4
    warm_up: int = 20
    decay: Decay = "constant"
    weight_decay: float = 0.01
    clip: float = 1.0
    average: float = 0.0

    def __post_init__(self) -> None:
        choice_of(self.kind, OPTIMISERS, "optimiser")
        choice_of(self.decay, DECAYS, "decay of the learning rate")
        if not self.learning_rate > 0 or self.warm_up < 0 or self.clip < 0 or not 0 <= self.average < 1:
            raise InvalidInputError(
                "A learning rate is above 0, warm-up and clip are not negative, and an average is 0 to below 1, "
                f"got {self.learning_rate:g}, {self.warm_up}, {self.clip:g} and {self.average:g}. Use 1e-4, 20, 1, 0."
            )

    def rate(self, step: int, steps: int) -> float:
        """The learning rate of a step, 0..steps - 1."""
        rising = min(1.0, (step + 1) / self.warm_up) if self.warm_up else 1.0
        left = 1 - step / steps
        falling = {"constant": 1.0, "linear": left, "cosine": 0.5 - 0.5 * _cos(left)}[self.decay]
        return self.learning_rate * rising * falling


def _cos(left: float) -> float:
    return float(torch.cos(torch.tensor(torch.pi * left, dtype=torch.float64)))


def check_installed(kind: OptimiserKind) -> None:
    """Refuses an optimiser whose package is not there.

    Raises:
        MissingPackageError: it is not.
    """
    if kind == "adamw8bit" and find_spec("bitsandbytes") is None:
        raise MissingPackageError(
            "bitsandbytes is not installed, which the optimiser adamw8bit needs. Install it, or choose 'adamw'."
        )


class Learner:
    """An adapter that is learned.

    Args:
        adapter: what is begun with; it is copied.
        settings: of the optimiser.
        device: where it is learned.

    Attributes:
        adapter: with its parameters, which every step changes.
        step: how many steps were made.

    Raises:
        MissingPackageError: the optimiser is not installed.
    """

    def __init__(self, adapter: Adapter, settings: OptimiserSettings, device: torch.device) -> None:
        self.adapter = trainable(adapter, device)
        self.step = 0
        self._settings = settings
        self._named = trainable_parameters(self.adapter)
        self._optimiser = _optimiser(list(self._named.values()), settings)
        self._average = (
            {name: value.detach().clone() for name, value in self._named.items()} if settings.average else {}
        )

    def advance(self, steps: int) -> tuple[float, float]:
        """Makes one step with the gradients that have come in; gives the learning rate and the gradient's length."""
        rate, clip = self._settings.rate(self.step, steps), self._settings.clip
        length = float(nn.utils.clip_grad_norm_(self._named.values(), clip or float("inf")))
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        self._optimiser.step()
        self._optimiser.zero_grad(set_to_none=True)
        self.step += 1
        keeps = min(self._settings.average, (1 + self.step) / (10 + self.step))
        for name, value in self._average.items():
            value.lerp_(self._named[name].detach(), 1 - keeps)
        return rate, length

    def learned(self) -> Adapter:
        """What is saved: the average where there is one, or else the values of this moment."""
        if not self._average:
            return self.adapter
        return _with_values(self.adapter, self._average)

    def tensors(self) -> dict[str, Tensor]:
        """Everything, to go on from another time; of the caller's only until the next step."""
        kept = {f"value.{name}": value.detach() for name, value in self._named.items()}
        kept |= {f"average.{name}": value for name, value in self._average.items()}
        for name, value in self._named.items():
            for key, part in self._optimiser.state[value].items():
                whole = isinstance(part, int)
                kept[f"optimiser.{key}.{_WHOLE if whole else 'tensor'}.{name}"] = torch.tensor(part) if whole else part
        return kept | {"step": torch.tensor(self.step)}

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Goes back to what `tensors` gave, of the same adapter and settings."""
        for name, value in self._named.items():
            value.copy_(tensors[f"value.{name}"])
        for name, value in self._average.items():
            value.copy_(tensors[f"average.{name}"])
        self._optimiser.state.clear()
        for key, tensor in tensors.items():
            kind, _, rest = key.partition(".")
            if kind != "optimiser":
                continue
            part, form, name = rest.split(".", 2)
            value = self._named[name]
            self._optimiser.state[value][part] = int(tensor) if form == _WHOLE else _placed(tensor, value.device)
        self.step = int(tensors["step"])


def _placed(tensor: Tensor, device: torch.device) -> Tensor:
    """A copy where the optimiser has it: counts of steps stay on the CPU."""
    return tensor.to(device if tensor.ndim else "cpu", copy=True)


def _with_values(adapter: Adapter, values: Mapping[str, Tensor]) -> Adapter:
    """The adapter with other values, by the names of `trainable_parameters`."""
    own = trainable(adapter)
    with torch.no_grad():
        for name, parameter in trainable_parameters(own).items():
            parameter.copy_(values[name])
    return own


def _optimiser(parameters: list[nn.Parameter], settings: OptimiserSettings) -> torch.optim.Optimizer:
    options: dict[str, Any] = {"lr": settings.learning_rate, "weight_decay": settings.weight_decay}
    if settings.kind == "adamw":
        return torch.optim.AdamW(parameters, **options)
    check_installed(settings.kind)
    import bitsandbytes  # pyright: ignore[reportMissingImports]

    return bitsandbytes.optim.AdamW8bit(parameters, **options)
