"""Numbers, texts and switches."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

from .....common.errors import InvalidInputError
from .....common.log import logger
from .... import standin as io
from ..dynamic_inputs import Anything, Growing, ManyTyped, Matching, MatchingOutput
from .expression import LETTERS, evaluate

_WHOLE = {"min": -sys.maxsize, "max": sys.maxsize}


class _Primitive(io.ComfyNode):
    """A value written down."""

    @classmethod
    def execute(cls, value: Any) -> Any:
        return io.NodeOutput(value)


class PrimitiveInt(_Primitive):
    """A whole number."""

    @classmethod
    def define_schema(cls) -> Any:
        value = io.Int.Input("value", control_after_generate="fixed", **_WHOLE)
        return _schema("PrimitiveInt", "Int", [value], [io.Int.Output()])


class PrimitiveFloat(_Primitive):
    """A number."""

    @classmethod
    def define_schema(cls) -> Any:
        return _schema("PrimitiveFloat", "Float", [io.Float.Input("value", step=0.1, **_WHOLE)], [io.Float.Output()])


class PrimitiveBoolean(_Primitive):
    """Yes or no."""

    @classmethod
    def define_schema(cls) -> Any:
        return _schema("PrimitiveBoolean", "Boolean", [io.Boolean.Input("value")], [io.Boolean.Output()])


class PrimitiveString(_Primitive):
    """A line of text."""

    @classmethod
    def define_schema(cls) -> Any:
        return _schema("PrimitiveString", "Text", [io.String.Input("value")], [io.String.Output()])


class PrimitiveStringMultiline(_Primitive):
    """A text."""

    @classmethod
    def define_schema(cls) -> Any:
        value = io.String.Input("value", multiline=True)
        return _schema("PrimitiveStringMultiline", "Text (Multiline)", [value], [io.String.Output()])


def _schema(name: str, title: str, inputs: list[Any], outputs: list[Any], category: str = "utilities/primitive") -> Any:
    return io.Schema(node_id=name, display_name=title, category=category, inputs=inputs, outputs=outputs)


class StringConcatenate(io.ComfyNode):
    """Two texts, one after the other."""

    @classmethod
    def define_schema(cls) -> Any:
        inputs = [
            io.String.Input("string_a", multiline=True),
            io.String.Input("string_b", multiline=True),
            io.String.Input("delimiter", default=""),
        ]
        return _schema("StringConcatenate", "Concatenate Text", inputs, [io.String.Output()], "text")

    @classmethod
    def execute(cls, string_a: str, string_b: str, delimiter: str) -> Any:
        return io.NodeOutput(delimiter.join((string_a, string_b)))


class StringReplace(io.ComfyNode):
    """A text with one part exchanged for another, wherever it stands."""

    @classmethod
    def define_schema(cls) -> Any:
        inputs = [io.String.Input(name, multiline=True) for name in ("string", "find", "replace")]
        return _schema("StringReplace", "Replace Text", inputs, [io.String.Output()], "text")

    @classmethod
    def execute(cls, string: str, find: str, replace: str) -> Any:
        return io.NodeOutput(string.replace(find, replace))


class RegexExtract(io.ComfyNode):
    """The part of a text that a pattern finds; nothing where it finds none, or is no pattern."""

    @classmethod
    def define_schema(cls) -> Any:
        inputs = [
            io.String.Input("string", multiline=True),
            io.String.Input("regex_pattern", multiline=True),
            io.Combo.Input("mode", options=["First Match", "All Matches", "First Group", "All Groups"]),
            io.Boolean.Input("case_insensitive", default=True, advanced=True),
            io.Boolean.Input("multiline", default=False, advanced=True),
            io.Boolean.Input("dotall", default=False, advanced=True),
            io.Int.Input("group_index", default=1, min=0, max=100, advanced=True),
        ]
        return _schema("RegexExtract", "Extract Text", inputs, [io.String.Output()], "text")

    @classmethod
    def execute(
        cls,
        string: str,
        regex_pattern: str,
        mode: str,
        case_insensitive: bool,
        multiline: bool,
        dotall: bool,
        group_index: int,
    ) -> Any:
        wanted = ((case_insensitive, re.IGNORECASE), (multiline, re.MULTILINE), (dotall, re.DOTALL))
        flags = sum((flag for is_on, flag in wanted if is_on), re.RegexFlag(0))
        try:
            found = list(re.finditer(regex_pattern, string, flags))
        except re.error:
            found = []
        groups = re.compile(regex_pattern, flags).groups if found else 0
        if mode == "All Matches":  # of a pattern with groups the first one of each match
            return io.NodeOutput("\n".join(match[min(groups, 1)] or "" for match in found))
        if mode == "All Groups":
            has_it = groups and groups >= group_index
            return io.NodeOutput("\n".join(match[group_index] or "" for match in found) if has_it else "")
        number = group_index if mode == "First Group" else 0
        return io.NodeOutput((found[0][number] or "") if found and groups >= number else "")


class CustomCombo(io.ComfyNode):
    """A choice among texts that are written down in the node, and its number, which the canvas keeps beside it."""

    @classmethod
    def define_schema(cls) -> Any:
        options = (io.String.Input(f"option{number}", default="", optional=True) for number in range(1, 33))
        inputs = [io.String.Input("choice"), io.Int.Input("index", default=0, optional=True), *options]
        outputs = [io.String.Output(display_name="STRING"), io.Int.Output(display_name="INDEX")]
        return _schema("CustomCombo", "Custom Combo", inputs, outputs, "utilities")

    @classmethod
    def execute(cls, choice: str, index: int = 0, **options: str) -> Any:
        written = [options[name] for name in sorted(options, key=lambda name: int(name.removeprefix("option")))]
        return io.NodeOutput(choice, written.index(choice) if choice and choice in written else index)


class PreviewAny(io.ComfyNode):
    """Shows a value in the log, and gives it as text."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="PreviewAny",
            display_name="Preview as Text",
            category="utilities",
            inputs=[Anything.Input("source")],
            outputs=[io.String.Output()],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, source: Any = None) -> Any:
        text = _as_text(source)
        # A terminal obeys control characters; line ends and tabs are text.
        logger.info("Preview as Text: %s", re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", "?", text))
        return io.NodeOutput(text, ui={"text": (text,)})


def _as_text(source: Any) -> str:
    if isinstance(source, str):
        return source
    try:
        return json.dumps(source, indent=4, ensure_ascii=False) if source is not None else "None"
    except (TypeError, ValueError, RecursionError):
        return str(source)


class ComfySwitchNode(io.ComfyNode):
    """One of two inputs; the other is not computed. Nothing where that one is not connected, as in newer ComfyUIs."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="ComfySwitchNode",
            display_name="If/Else Switch",
            category="utilities/logic",
            inputs=[
                io.Boolean.Input("switch"),
                Matching("on_false", "switch", lazy=True, optional=True),
                Matching("on_true", "switch", lazy=True, optional=True),
            ],
            outputs=[MatchingOutput(display_name="output")],
            is_experimental=True,
        )

    @classmethod
    def check_lazy_status(cls, switch: bool, on_false: Any = None, on_true: Any = None) -> list[str]:
        chosen, value = ("on_true", on_true) if switch else ("on_false", on_false)
        return [chosen] if value is None else []

    @classmethod
    def execute(cls, switch: bool, on_true: Any = None, on_false: Any = None) -> Any:
        return io.NodeOutput(on_true if switch else on_false)


class ComfyNotNode(io.ComfyNode):
    """Yes for what is empty, 0 or no."""

    @classmethod
    def define_schema(cls) -> Any:
        return _schema("ComfyNotNode", "Not", [Anything.Input("value")], [io.Boolean.Output()], "utilities/logic")

    @classmethod
    def execute(cls, value: Any) -> Any:
        return io.NodeOutput(not value)


class ComfyAndNode(io.ComfyNode):
    """Yes when all of the values are neither empty, 0 nor no."""

    @classmethod
    def define_schema(cls) -> Any:
        values = Growing("values", Anything.Input("value"), prefix="value", most=10)
        return _schema("ComfyAndNode", "And", [values], [io.Boolean.Output()], "utilities/logic")

    @classmethod
    def execute(cls, values: dict[str, Any]) -> Any:
        return io.NodeOutput(all(values.values()))


class ComfyOrNode(io.ComfyNode):
    """Yes when one of the values is neither empty, 0 nor no."""

    @classmethod
    def define_schema(cls) -> Any:
        values = Growing("values", Anything.Input("value"), prefix="value", most=10)
        return _schema("ComfyOrNode", "Or", [values], [io.Boolean.Output()], "utilities/logic")

    @classmethod
    def execute(cls, values: dict[str, Any]) -> Any:
        return io.NodeOutput(any(values.values()))


class ComfyMathExpression(io.ComfyNode):
    """The value of a formula."""

    @classmethod
    def define_schema(cls) -> Any:
        number = ManyTyped("value", ("FLOAT", "INT", "BOOLEAN"))
        return io.Schema(
            node_id="ComfyMathExpression",
            display_name="Math Expression",
            category="utilities",
            inputs=[
                io.String.Input("expression", default="a + b", multiline=True),
                Growing("values", number, names=LETTERS),
            ],
            outputs=[
                io.Float.Output(display_name="FLOAT"),
                io.Int.Output(display_name="INT"),
                io.Boolean.Output(display_name="BOOL"),
            ],
        )

    @classmethod
    def execute(cls, expression: str, values: dict[str, Any]) -> Any:
        result = evaluate(expression, values)
        try:
            number = float(result)
        except OverflowError:
            number = float("inf")
        if number in (float("inf"), float("-inf")) or number != number:
            raise InvalidInputError(f"'{expression}' gives no finite number. Write a formula that does.")
        return io.NodeOutput(number, int(result), bool(result))
