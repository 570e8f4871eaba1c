"""What a node's INPUT_TYPES say about its widgets, as the canvas reads them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

WIDGET_TYPES = frozenset({"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"})
CONTROLS = frozenset({"fixed", "increment", "decrement", "randomize"})
# The canvas gives an integer of one of these names a control widget even if its node does not ask for one.
SEEDS = frozenset({"seed", "noise_seed"})


def inputs_of(types: Mapping[str, dict]) -> Iterator[tuple[str, str | list, dict[str, Any], bool]]:
    """(name, type, options, required) of each input, in the canvas's order: required before optional."""
    for group in ("required", "optional"):
        for name, spec in types.get(group, {}).items():
            yield name, spec[0], (spec[1] if len(spec) > 1 else {}), group == "required"


def widget_type(types: Mapping[str, dict], name: str) -> str | None:
    """INT, FLOAT, STRING, BOOLEAN or COMBO when the input is a widget, else None."""
    for each, kind, options, _ in inputs_of(types):
        if each == name and not options.get("forceInput"):
            kind = "COMBO" if isinstance(kind, list) else kind
            return kind if kind in WIDGET_TYPES else None
    return None


def widget_names(types: Mapping[str, dict]) -> list[str]:
    """The widgets, in the order in which a saved graph lists their values."""
    return [name for name, *_ in inputs_of(types) if widget_type(types, name) is not None]


def is_control_value(types: Mapping[str, dict], name: str, value: Any) -> bool:
    """Whether `value`, saved after the widget `name`, is its "control after generate"."""
    options = next(options for each, _, options, _ in inputs_of(types) if each == name)
    return (options.get("control_after_generate") or name in SEEDS) and value in CONTROLS


def types_match(given: str, wanted: str | list) -> bool:
    """Whether an output of the type `given` may feed an input; types are names joined by commas, `*` is any."""
    if not isinstance(wanted, str):
        return given == "COMBO"
    names, accepted = ({name.strip() for name in types.split(",")} for types in (given, wanted))
    return "*" in names | accepted or bool(names & accepted)
