# ruff: noqa: N802  (ComfyUI names its classes and their makers alike)
"""The seam to ComfyUI's node interface: its `io` and `ui` when it hosts us, our own stand-in otherwise.

Node files import `io`, `ui`, `ADVANCED` and `one_sentence` from here and nothing of ComfyUI.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..common.errors import WanDirectorError
from .files.places import TITLES, sentence

HOSTED: bool
if TYPE_CHECKING:  # ComfyUI is no package that a checker could read; the stand-in declares what we use of it
    from . import standin as _host_io
    from . import standin as _host_ui
else:
    try:
        from comfy_api.latest import io as _host_io
        from comfy_api.latest import ui as _host_ui

        HOSTED = True
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("comfy_api"):
            raise
        from . import standin as _host_io

        _host_ui = _host_io
        HOSTED = False


class _TolerantIo:
    """The host's `io`, minus the schema keywords that this version of it does not know."""

    def Schema(self, **keywords: Any) -> Any:
        known = inspect.signature(_host_io.Schema).parameters
        return _host_io.Schema(**{name: value for name, value in keywords.items() if name in known})

    def __getattr__(self, name: str) -> Any:
        return getattr(_host_io, name)


io = _TolerantIo()
ui = _host_ui

ADVANCED: dict[str, bool] = (
    {"advanced": True} if "advanced" in inspect.signature(_host_io.Int.Input.__init__).parameters else {}
)
"""Keywords for an input that is rarely changed: the canvas folds it away, where this version of it can."""


def one_sentence(execute: Callable) -> Callable:
    """Decorates a node's `execute` so that an error of ours leaves it as its sentence, without our inner frames.

    ComfyUI shows a traceback under each error; for a mistake in a widget or a file those frames only hide the sentence.
    """

    @functools.wraps(execute)
    def wrapper(*args: Any, **inputs: Any) -> Any:
        try:
            return execute(*args, **inputs)
        except WanDirectorError as error:
            refusal = error.naming(TITLES)
        raise refusal.with_traceback(None) from None

    return wrapper


class Refused(str):
    """The sentence of an answer that refuses, for a host that reads texts.

    Attributes:
        kind: of the error that it was.
    """

    kind: type[WanDirectorError]


def answer(check: Callable[..., object], *values: Any) -> bool | str:
    """What `validate_inputs` gives: True when `check` accepts the values, else its sentence."""
    try:
        check(*values)
    except WanDirectorError as error:
        refused = Refused(sentence(error))
        refused.kind = type(error)
        return refused
    return True
