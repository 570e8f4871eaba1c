"""Which clips and pictures a training learns from: folders, lines of JSON, and tables in musubi-tuner's form."""

from .clips import ClipFile, DatasetPart, PictureShape
from .finding import clips_of, read_dataset
from .frames import clip_shape, read_beside, read_clip

__all__ = [
    "ClipFile",
    "DatasetPart",
    "PictureShape",
    "clip_shape",
    "clips_of",
    "read_beside",
    "read_clip",
    "read_dataset",
]
