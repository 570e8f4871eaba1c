"""What a node's INPUT_TYPES say about its inputs and widgets, as the canvas and the server read them.

Dynamic inputs (ComfyUI's io.Autogrow and io.DynamicCombo) stand for several, named with a dot: `images.image0`,
`mode.width`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

WIDGET_TYPES = frozenset({"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"})
# Their values lie among a node's widget values too, though no value of theirs can be written down.
DRAWN_TYPES = frozenset({"COLOR", "BOUNDING_BOX", "CURVE", "LOAD_3D", "WEBCAM", "AUDIO_RECORD", "IMAGECOMPARE"})
CONTROLS = frozenset({"fixed", "increment", "decrement", "randomize", "increment-wrap"})
# The canvas gives an integer of one of these names a control widget even if its node does not ask for one.
SEEDS = frozenset({"seed", "noise_seed"})
GROWING, CHOOSING, MATCHING = "COMFY_AUTOGROW_V3", "COMFY_DYNAMICCOMBO_V3", "COMFY_MATCHTYPE_V3"


class InputSpec(NamedTuple):
    """One input: its type (a list: the choices), options, and whether the node needs it."""

    name: str
    type: str | list
    options: dict[str, Any]
    required: bool

    @property
    def is_lazy(self) -> bool:
        """Whether it is computed only when the node asks for it."""
        return bool(self.options.get("lazy"))

    @property
    def widget(self) -> str | None:
        """INT, FLOAT, STRING, BOOLEAN or COMBO when the input is a widget, else None."""
        kinds = ["COMBO"] if isinstance(self.type, list) else [self.options.get("widgetType"), self.type]
        return None if self.options.get("forceInput") else next((kind for kind in kinds if kind in WIDGET_TYPES), None)


def inputs_of(types: Mapping[str, dict], given: Mapping[str, Any] | None = None) -> Iterator[InputSpec]:
    """Each input in the canvas's order: required before optional. Dynamic ones as `given` values choose them."""
    for group in ("required", "optional"):
        for name, spec in (types.get(group) or {}).items():
            options = spec[1] if len(spec) > 1 and isinstance(spec[1], dict) else {}
            yield from _opened(InputSpec(name, spec[0], options, group == "required"), given or {})


def _opened(spec: InputSpec, given: Mapping[str, Any]) -> Iterator[InputSpec]:
    if spec.type == GROWING:
        yield from _grown(spec)
    elif spec.type == CHOOSING:
        options = {each["key"]: each.get("inputs") or {} for each in spec.options.get("options", ())}
        yield spec._replace(type=list(options), options={**spec.options, "options": list(options)})
        chosen = given.get(spec.name, next(iter(options), None))
        inside = options.get(chosen, {}) if isinstance(chosen, str) else {}
        within = {name.removeprefix(f"{spec.name}."): value for name, value in given.items()}
        for each in inputs_of(inside, within):
            yield each._replace(name=f"{spec.name}.{each.name}", required=each.required and spec.required)
    else:
        yield spec


def _grown(spec: InputSpec) -> Iterator[InputSpec]:
    template = spec.options.get("template") or {}
    names = template.get("names") or [f"{template.get('prefix', '')}{number}" for number in range(template["max"])]
    inner = next(inputs_of(template.get("input") or {}), None)
    if inner is None:
        return
    for number, name in enumerate(names):
        is_needed = inner.required and spec.required and number < template.get("min", 0)
        yield InputSpec(f"{spec.name}.{name}", inner.type, {**inner.options, "forceInput": True}, is_needed)


def spec_of(types: Mapping[str, dict], name: str, given: Mapping[str, Any] | None = None) -> InputSpec | None:
    """The input of that name."""
    return next((each for each in inputs_of(types, given) if each.name == name), None)


def widget_names(types: Mapping[str, dict], given: Mapping[str, Any] | None = None) -> list[str]:
    """The widgets, in the order in which a saved graph lists their values."""
    return [each.name for each in inputs_of(types, given) if each.widget]


def places_in_list(types: Mapping[str, dict], values: list) -> Iterator[tuple[str, int]]:
    """(name, index) of each widget's value in a saved list; a seed is followed by what to do with it.

    Indices may lie beyond a list that is too short.
    """
    chosen: dict[str, Any] = {}
    index = 0
    for spec in _walk(types, chosen):
        if not spec.widget and spec.type not in DRAWN_TYPES:
            continue
        yield spec.name, index
        chosen[spec.name] = values[index] if index < len(values) else spec.options.get("default")
        index += 1
        is_controlled = spec.options.get("control_after_generate") or spec.name.rpartition(".")[2] in SEEDS
        if is_controlled and index < len(values) and is_control(values[index]):
            index += 2 if spec.widget == "COMBO" and index + 1 < len(values) else 1


def _walk(types: Mapping[str, dict], chosen: Mapping[str, Any]) -> Iterator[InputSpec]:
    """As `inputs_of`, with choices that are made on the way."""
    for group in ("required", "optional"):
        for name in types.get(group) or {}:
            single = {group: {name: types[group][name]}}
            done: set[str] = set()
            while (
                spec := next((each for each in inputs_of(single, chosen) if each.name not in done), None)
            ) is not None:
                done.add(spec.name)
                yield spec


def is_control(value: Any) -> bool:
    """Whether a value is a "control after generate"."""
    return isinstance(value, str) and value in CONTROLS


def nested_inputs(types: Mapping[str, dict], values: Mapping[str, Any]) -> dict[str, Any]:
    """A node's inputs as its `execute` takes them: those named with a dot as dictionaries, a choice under its own name.

    Source: ComfyUI v0.33.0, comfy_api/latest/_io.py, build_nested_inputs.
    """
    specs = ((name, spec[0]) for group in ("required", "optional") for name, spec in (types.get(group) or {}).items())
    dynamic = {name: {} for name, kind in specs if kind in (GROWING, CHOOSING)}
    nested: dict[str, Any] = dict(dynamic)
    choices = {name for name in values if any(other.startswith(f"{name}.") for other in values)} | dynamic.keys()
    for name, value in values.items():
        *path, last = name.split(".")
        path += [last] if name in choices else []
        _put(nested, [*path, last], value)
    return nested


def _put(nested: dict[str, Any], path: Iterable[str], value: Any) -> None:
    *folders, last = path
    for folder in folders:
        inner = nested.get(folder)
        nested[folder] = inner if isinstance(inner, dict) else {}
        nested = nested[folder]
    nested[last] = value


def types_match(given: str, wanted: str | list) -> bool:
    """Whether an output of the type `given` may feed an input; types are names joined by commas, `*` is any."""
    if not isinstance(wanted, str):
        return given == "COMBO"
    names, accepted = ({name.strip() for name in types.split(",")} for types in (given, wanted))
    return bool({"*", MATCHING} & (names | accepted)) or bool(names & accepted)
