"""Results on their way to disk: their names, the place asked beforehand, whole files, and a last resort."""

from .finding import result_in_subfolder
from .names import NO_VALUES, NodeValues, file_prefix

__all__ = ["NO_VALUES", "NodeValues", "file_prefix", "result_in_subfolder"]
