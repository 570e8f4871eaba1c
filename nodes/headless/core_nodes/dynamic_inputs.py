"""Inputs that grow, match or choose others, as ComfyUI's own nodes have them.

Source: ComfyUI v0.33.0, comfy_api/latest/_io.py (MatchType, MultiType, Autogrow, DynamicCombo).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ... import standin
from ...standin import Custom, Input, Output, Schema

Anything = Custom("*")
Video = Custom("VIDEO")
Audio = standin.Audio
Model = standin.Model


class ManyTyped(Input):
    """A socket that takes several types."""

    def __init__(self, id: str, types: Sequence[str], **options: Any) -> None:
        super().__init__(id, **options)
        self.io_type = ",".join(types)


class ChoiceOrNumber(Input):
    """A dropdown that takes whole numbers by wire, too: what was a number in older versions of ComfyUI."""

    io_type = "INT,COMBO"
    widget_options = ("default", "options")
    always = {"widgetType": "COMBO"}


class Matching(Input):
    """A socket whose type is that of the others of its `template`; a lazy one is computed when the node asks for it."""

    io_type = "COMFY_MATCHTYPE_V3"

    def __init__(self, id: str, template: str, types: Sequence[str] = ("*",), *, lazy: bool = False, **options: Any):
        super().__init__(id, **options)
        self._lazy = {"lazy": True} if lazy else {}
        self._template = {"template_id": template, "allowed_types": ",".join(types)}

    def as_dict(self) -> dict[str, Any]:
        return super().as_dict() | self._lazy | {"template": self._template}


class MatchingOutput(Output):
    """A result of the type of the `Matching` inputs."""

    io_type = "COMFY_MATCHTYPE_V3"


class Growing(Input):
    """Sockets like `inner` that appear as they are used, called `names` behind the input's own name and a dot.

    A node's `execute` takes them as a dictionary. `prefix`: the names are numbered from 0, `least` of them needed.
    """

    io_type = "COMFY_AUTOGROW_V3"

    def __init__(
        self,
        id: str,
        inner: Input,
        *,
        names: Sequence[str] = (),
        prefix: str = "",
        most: int = 0,
        least: int = 1,
        **options: Any,
    ) -> None:
        super().__init__(id, **options)
        self._inner = inner
        self._names = {"names": list(names), "min": 1} if names else {"prefix": prefix, "min": least, "max": most}

    def as_dict(self) -> dict[str, Any]:
        inner = Schema(node_id=self.id, inputs=[self._inner]).input_types()
        return super().as_dict() | {"template": {"input": inner, **self._names}}


class Choice(NamedTuple):
    """One choice of a `Choosing` input, and the inputs that it brings."""

    key: str
    inputs: list[Input]


class Choosing(Input):
    """A dropdown whose choice brings inputs of its own, called by their names behind its own name and a dot.

    A node's `execute` takes a dictionary of them, with the choice itself under the name of the input.
    """

    io_type = "COMFY_DYNAMICCOMBO_V3"

    def __init__(self, id: str, choices: Sequence[Choice], **options: Any) -> None:
        super().__init__(id, **options)
        self._choices = choices

    def as_dict(self) -> dict[str, Any]:
        options = [
            {"key": choice.key, "inputs": Schema(node_id=choice.key, inputs=choice.inputs).input_types()}
            for choice in self._choices
        ]
        return super().as_dict() | {"options": options}
