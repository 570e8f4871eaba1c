"""ComfyUI's channel for previews: a picture, and the node that it belongs on, to the page that started the run."""

from __future__ import annotations

import asyncio
import json
import struct
from typing import Any

from .moving import SendFrame

_FEATURE = "supports_preview_metadata"


def frame_sender(server: Any) -> SendFrame | None:
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
