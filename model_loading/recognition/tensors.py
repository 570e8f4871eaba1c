"""The shapes of a file's tensors under their official names."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ...common.errors import FileFault
from ..files.checkpoint import TensorInfo
from ..key_maps.renaming import Source

MAX_LAYERS = 200


class Tensors:
    """Shapes of a file's tensors under their official names; `infos` has them under the file's own."""

    def __init__(self, infos: Mapping[str, TensorInfo], sources: Mapping[str, Source]) -> None:
        self.keys = sources.keys()
        self.infos = infos
        self._sources = sources

    def has(self, key: str) -> bool:
        """Whether the official tensor `key` is in the file."""
        return key in self.keys

    def shape(self, key: str) -> tuple[int, ...]:
        """Shape of the official tensor `key`.

        Raises:
            FileFault: it is not in the file.
        """
        source = self._sources.get(key)
        shapes = [self.infos[part].shape for part in source.keys if part in self.infos] if source else []
        if source is None or not shapes:
            raise FileFault(f"lacks the tensor {key!r}", "it is incomplete; download it again")
        if source.transposed:
            return shapes[0][::-1]
        return (sum(shape[0] for shape in shapes), *shapes[0][1:]) if len(shapes) > 1 else shapes[0]

    def size(self, key: str, dimension: int) -> int:
        """One dimension of the official tensor `key`, at least 1."""
        shape = self.shape(key)
        if not -len(shape) <= dimension < len(shape) or shape[dimension] < 1:
            raise FileFault(f"is no usable model: its tensor {key!r} has the shape {list(shape)}", advice="")
        return shape[dimension]

    def count(self, stem: str) -> int:
        """Number of layers `stem`0., `stem`1., ... (one more than the highest, so that gaps are found on loading)."""
        found = (re.match(re.escape(stem) + r"(\d{1,6})\.", key) for key in self.keys)
        layers = 1 + max((int(number[1]) for number in found if number), default=-1)
        if not 1 <= layers <= MAX_LAYERS:
            raise FileFault(f"has {layers} layers {stem!r}, which no Wan model has", advice="")
        return layers
