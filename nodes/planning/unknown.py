"""What is not known of a graph before it runs: nodes of other packs, what they give, and what is guessed of that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ...common.empty_tensors import empty
from ...common.shapes import VideoShape
from ..headless.graph import GraphNode
from ..headless.widgets import MATCHING, WIDGET_TYPES, InputSpec, types_match

MODEL_SOCKETS = frozenset({"MODEL", "WAN_DIRECTOR_MODEL", "VAE", "CLIP", "CLIP_VISION", "AUDIO_ENCODER"})
"""What comes over them takes memory when a node runs it."""
_TEXT_WIDTH, _TEXT_TOKENS = 4096, 512
"""Of all published Wan models."""


class Unknown:
    """The class of a node that nobody knows here."""

    OUTPUT_NODE = False
    RETURN_TYPES = ("*",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, dict]:  # noqa: N802  (ComfyUI's name)
        """Nothing is known of its inputs."""
        return {}


class _Nothing:
    """That nothing can be said."""


NOTHING = _Nothing()


class Assumption(NamedTuple):
    """What is taken for what is not known: where another guess gives another plan, it matters and has to be said.

    `size`: of pictures and videos that are not here; `prompts`: that an unknown node gives beside those it is given;
    `steps`: how many steps of its widget a value lies from its default.
    """

    size: VideoShape
    prompts: int
    steps: int


ASSUMPTIONS = Assumption(VideoShape(1, 512, 512), 0, 0), Assumption(VideoShape(5, 768, 1024), 1, 4)


class Blanks(Sequence[Any]):
    """The outputs of a node that is not run: each a `Blank`.

    Args:
        node: which.
        given: the type and the value of each wire into it.
        is_exact: whether it hands on what it is given, as it is.
    """

    def __init__(self, node: GraphNode, given: Sequence[tuple[str, Any]], is_exact: bool = False) -> None:
        self.node = node
        self._given = given
        self._is_exact = is_exact
        self._found: dict[str, list[tuple[Any, bool]]] = {}

    def __len__(self) -> int:
        return 0

    def __getitem__(self, slot: Any) -> Blank:
        return Blank(self, slot)

    def of_type(self, wanted: str) -> list[tuple[Any, bool]]:
        """The values of a type that it was given; and whether all nodes on the way handed them on as they were."""
        if wanted not in self._found:
            self._found[wanted] = []
            values = [value for kind, value in self._given if types_match(kind, wanted)]
            handed = [value.handed_on(wanted) if isinstance(value, Blank) else (value, True) for value in values]
            self._found[wanted] = [(value, exact and self._is_exact) for value, exact in handed if value is not NOTHING]
        return self._found[wanted]


class Blank(NamedTuple):
    """What is not known, because the node that gives it is not run."""

    source: Blanks
    slot: int

    def handed_on(self, wanted: str) -> tuple[Any, bool]:
        """What a node that changes something gives: of what it was given of the type, that in the place of this output,
        else the first; see `Blanks.of_type`."""
        found = self.source.of_type(wanted) if wanted not in ("*", MATCHING) else []
        return found[self.slot if self.slot < len(found) else 0] if found else (NOTHING, False)


def guessed(blank: Blank, spec: InputSpec, guess: Assumption) -> tuple[Any, bool]:
    """What is taken for a value that is not known at an input; and whether that is a guess.

    `NOTHING` where none can be taken.
    """
    if spec.widget in WIDGET_TYPES:
        return _widget(spec, guess), True
    kind = spec.type if isinstance(spec.type, str) else "COMBO"
    value, is_exact = blank.handed_on(kind)
    if value is not NOTHING:
        more = 0 if is_exact or kind != "CONDITIONING" or not isinstance(value, list) else guess.prompts
        return (value + value[:1] * more if more else value), not is_exact
    return _made_up(kind, guess), True


def _made_up(kind: str, guess: Assumption) -> Any:
    if kind == "IMAGE":
        return empty(*guess.size, 3)
    if kind == "MASK":
        return empty(*guess.size)
    if kind == "CONDITIONING":
        return [[empty(1, _TEXT_TOKENS, _TEXT_WIDTH), {}] for _ in range(1 + guess.prompts)]
    return NOTHING


def _widget(spec: InputSpec, guess: Assumption) -> Any:
    options: Mapping[str, Any] = spec.options
    if "default" not in options:
        return NOTHING
    value = options["default"]
    if spec.widget not in ("INT", "FLOAT") or isinstance(value, bool):
        return value
    return min(value + guess.steps * (options.get("step") or 1), options.get("max", value + guess.steps))
