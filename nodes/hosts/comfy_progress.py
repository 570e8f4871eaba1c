"""How far a run is, on ComfyUI's canvas: a bar, words below the widgets of the node, and a moving preview."""

from __future__ import annotations

import asyncio
import json
import struct
import sys
from typing import Any

import comfy.cli_args
import comfy.utils

from ...engine.previews.moving import MovingPicture
from ...engine.progress import Counted, Often, Pace
from .moving import MovingPreview, SendFrame

WORDS_AFTER_S = 1.0
"""Words make the node grow, which work that ends sooner is spared."""
_FEATURE = "supports_preview_metadata"


class ComfyProgress:
    """The bar on the running node with a moving preview, and words below its widgets.

    Only the canvas that started the run has the words: on another, the node of that number is another one.
    """

    def __init__(self, counted: Counted) -> None:
        self._total = counted.total
        self._bar = comfy.utils.ProgressBar(counted.total)
        if counted.before:
            self._bar.update_absolute(counted.before)
        self._pace = Pace(counted)
        self._often = Often()
        self._has_words = False
        self._server = _running_server()
        self._node_id = None if self._server is None else self._server.last_node_id
        self._shown = MovingPreview(comfy.cli_args.args.preview_size, _frame_sender(self._server))

    def __enter__(self) -> ComfyProgress:
        return self

    def __exit__(self, *_error: object) -> None:
        self._shown.end()
        if self._has_words:
            self._say(self._pace.ended())

    def update(self, done: int, preview: MovingPicture | None = None) -> None:
        self._pace.reach(done)
        if preview is not None or done >= self._total or self._often.passes():
            self._bar.update_absolute(done, preview=None if preview is None else _still(preview))
        if preview is not None and done < self._total:
            self._shown.show(preview)
        self._tell()

    def note(self, text: str) -> None:
        self._pace.note(text)
        self._tell()

    def _tell(self) -> None:
        if self._pace.is_due(WORDS_AFTER_S):
            self._has_words = True
            self._say(self._pace.words())

    def _say(self, words: str) -> None:
        _say(self._server, self._node_id, words)


def say_in_node(text: str) -> None:
    """Shows a text below the widgets of the node that runs, on the canvas that started it."""
    server = _running_server()
    _say(server, None if server is None else server.last_node_id, text)


def _say(server: Any, node_id: str | None, text: str) -> None:
    if server is not None and server.client_id is not None and node_id is not None:
        server.send_progress_text(text, node_id, server.client_id)


def _running_server() -> Any:
    """ComfyUI's server; None where it runs no server, and has not loaded its module."""
    module = sys.modules.get("server")
    return None if module is None else getattr(module.PromptServer, "instance", None)


def _still(preview: MovingPicture) -> tuple[str, Any, int]:
    """What every host and every page shows."""
    from PIL import Image

    return "JPEG", Image.fromarray(preview.still.numpy()), comfy.cli_args.args.preview_size


def _frame_sender(server: Any) -> SendFrame | None:
    """What sends JPEGs to the node that runs now.

    None without a server or a page, and for programs that do not ask for previews with their node: those have the
    still picture of each step, and are not sent more than that.

    Source of the form: comfyanonymous/ComfyUI, server.py, `send_image_with_metadata`, version 0.33.0.
    """
    if server is None or server.client_id is None:
        return None
    try:
        from comfy_api import feature_flags
        from comfy_execution.progress import get_progress_state
        from comfy_execution.utils import get_executing_context
        from protocol import BinaryEventTypes
    except ImportError:
        return None
    context, client = get_executing_context(), server.client_id
    if context is None or not feature_flags.supports_feature(server.sockets_metadata, client, _FEATURE):
        return None
    node, graph = context.node_id, get_progress_state().dynprompt
    told = json.dumps({
        "node_id": node,
        "prompt_id": context.prompt_id,
        "display_node_id": graph.get_display_node_id(node),
        "parent_node_id": graph.get_parent_node_id(node),
        "real_node_id": graph.get_real_node_id(node),
        "image_type": "image/jpeg",
    }).encode()  # fmt: skip
    head, event = struct.pack(">I", len(told)) + told, BinaryEventTypes.PREVIEW_IMAGE_WITH_METADATA

    def send(jpeg: bytes) -> None:
        """`send_sync` takes pictures alone, and would compress each of them again."""
        asyncio.run_coroutine_threadsafe(server.send_bytes(event, head + jpeg, client), server.loop)

    return send
