"""ComfyUI's nodes of numbers, texts, switches, lists, and of parts of a graph that are run several times."""

from .lists import CreateList, GetItemFromList
from .loop import EndLoop, StartLoop
from .values import (
    ComfyAndNode,
    ComfyMathExpression,
    ComfyNotNode,
    ComfyOrNode,
    ComfySwitchNode,
    CustomCombo,
    PreviewAny,
    PrimitiveBoolean,
    PrimitiveFloat,
    PrimitiveInt,
    PrimitiveString,
    PrimitiveStringMultiline,
    RegexExtract,
    StringConcatenate,
    StringReplace,
)

__all__ = [
    "ComfyAndNode",
    "ComfyMathExpression",
    "ComfyNotNode",
    "ComfyOrNode",
    "ComfySwitchNode",
    "CreateList",
    "CustomCombo",
    "EndLoop",
    "GetItemFromList",
    "PreviewAny",
    "PrimitiveBoolean",
    "PrimitiveFloat",
    "PrimitiveInt",
    "PrimitiveString",
    "PrimitiveStringMultiline",
    "RegexExtract",
    "StartLoop",
    "StringConcatenate",
    "StringReplace",
]
