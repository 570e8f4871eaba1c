"""ComfyUI's nodes for parts of a model in files of their own."""

from .loader import ModelPatchLoader
from .talk import WanInfiniteTalkToVideo
from .uni3c import WanUni3CControlnetApply

__all__ = ["ModelPatchLoader", "WanInfiniteTalkToVideo", "WanUni3CControlnetApply"]
