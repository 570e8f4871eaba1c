"""Wan Director: text and images to video with the open Wan models, in ComfyUI and headless."""

if not __package__:  # pytest imports the root of a package a second time, under the bare name `__init__`
    __package__ = "wan_director"

from .common import threads  # noqa: F401  (first: before anything imports torch)
from .nodes.api import HOSTED

WEB_DIRECTORY = "./web"

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS", "WEB_DIRECTORY"]

if HOSTED:
    from .nodes.comfy_host import register_bundled_models
    from .nodes.registry import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

    register_bundled_models()
else:

    def __getattr__(name: str) -> object:
        """The nodes, once they are asked for: `wan-director --help` and a script that samples need not load them."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from .nodes import registry

        return getattr(registry, name)
