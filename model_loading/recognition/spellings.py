"""Files of quantisation libraries, seen as if they called their tensors as ComfyUI's files do.

optimum-quanto writes `X.weight._data` and `X.weight._scale`, torchao (through diffusers) `X._weight_qdata` and
`X._weight_scale`, SDNQ `X.weight` and `X.scale`; here all become `X.weight` and `X.weight_scale`. Numbers are not
touched. Source: optimum-quanto 0.2.7 tensor/qbytes.py, torchao 0.18 prototype/safetensors, sdnq 0.2.8 quantizer.py.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from torch import Tensor

from ...common.errors import CheckpointError
from ..files.checkpoint import Checkpoint, TensorInfo
from ..formats.libraries import LIBRARY_KEY, ZERO_POINT

_CODES = frozenset({"I8", "F8_E4M3", "F8_E5M2"})
_MAX_CONFIG_BYTES = 1_000_000


class _Spelling(NamedTuple):
    """How a library writes a matrix: the ends of its numbers, its scales and of what may be left out or comes along."""

    library: str
    numbers: str
    scale: str
    zero_point: str | None = None
    left_out: tuple[str, ...] = ()


_SPELLINGS = (
    _Spelling("quanto", ".weight._data", ".weight._scale", left_out=(".input_scale", ".output_scale")),
    _Spelling("torchao", "._weight_qdata", "._weight_scale", "._weight_zero_point"),
    _Spelling("SDNQ", ".weight", ".scale"),
)
_SDNQ = _SPELLINGS[-1]
# What makes numbers of SDNQ more than codes times scales.
_MORE_THAN_SCALES = (".zero_point", ".scale_2", ".svd_up", ".svd_down")


class RespelledCheckpoint:
    """Another checkpoint under other names; matrices in groups [rows, groups, columns] appear as [rows, columns].

    Args:
        inner: the file as it is.
        names: name here -> name in the file.
        library: who wrote it.
    """

    def __init__(self, inner: Checkpoint, names: Mapping[str, str], library: str) -> None:
        self.path: Path = inner.path
        self.size_bytes = inner.size_bytes
        self.metadata: Mapping[str, str] = MappingProxyType({**inner.metadata, LIBRARY_KEY: library})
        self.notes: tuple[str, ...] = inner.notes
        self._inner = inner
        self._names = names
        self.tensors: Mapping[str, TensorInfo] = MappingProxyType(
            {name: _flat(name, inner.tensors[written]) for name, written in names.items()}
        )

    def read(self, key: str) -> Tensor:
        """See `Checkpoint.read`."""
        return self._inner.read(self._names[key]).reshape(self.tensors[key].shape)

    def expect(self, key: str) -> None:
        """See `Checkpoint.expect`."""
        self._inner.expect(self._names[key])

    def release(self, key: str) -> None:
        """See `Checkpoint.release`."""
        self._inner.release(self._names[key])


def respelled(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint itself, or under ComfyUI's names where a library wrote it whose numbers are codes times scales.

    Raises:
        CheckpointError: the settings beside the file say that its numbers were also rotated.
    """
    for spelling in _SPELLINGS:
        stems = _stems(checkpoint.tensors, spelling)
        if stems:
            view = RespelledCheckpoint(checkpoint, _names(checkpoint.tensors, spelling, stems), spelling.library)
            if spelling is _SDNQ:
                view.notes = (*view.notes, *_sdnq_notes(checkpoint.path))
            return view
    return checkpoint


def _stems(tensors: Mapping[str, TensorInfo], spelling: _Spelling) -> frozenset[str]:
    """The layers that are written so; none if one of them cannot be read as codes times scales."""
    stems = frozenset(
        key.removesuffix(spelling.scale)
        for key in tensors
        if key.endswith(spelling.scale) and key.removesuffix(spelling.scale) + spelling.numbers in tensors
    )
    is_read = all(
        tensors[stem + spelling.numbers].dtype in _CODES
        and (spelling.numbers == ".weight" or stem + ".weight" not in tensors)
        and not any(stem + end in tensors for end in _MORE_THAN_SCALES)
        for stem in stems
    )
    return stems if is_read else frozenset()


def _names(tensors: Mapping[str, TensorInfo], spelling: _Spelling, stems: frozenset[str]) -> dict[str, str]:
    ends = {spelling.numbers: ".weight", spelling.scale: ".weight_scale"}
    if spelling.zero_point is not None:
        ends[spelling.zero_point] = ZERO_POINT
    names = {}
    for key in tensors:
        end = next((end for end in ends if key.endswith(end) and key.removesuffix(end) in stems), None)
        if end is not None:
            names[key.removesuffix(end) + ends[end]] = key
        elif not (key.endswith(spelling.left_out) and key.rpartition(".")[0] in stems):
            names[key] = key
    return names


def _flat(name: str, info: TensorInfo) -> TensorInfo:
    """A matrix of codes or scales that is divided into groups, as one of two dimensions."""
    shape = info.shape
    is_grouped = len(shape) == 3 and (info.dtype in _CODES if name.endswith(".weight") else name.endswith("_scale"))
    return TensorInfo(info.dtype, (shape[0], shape[1] * shape[2])) if is_grouped else info


def _sdnq_notes(path: Path) -> tuple[str, ...]:
    """What is to be said of a file whose numbers may have been rotated; only the settings beside it tell.

    Raises:
        CheckpointError: they were.
    """
    folder = path if path.is_dir() else path.parent
    settings = _settings(folder / "quantization_config.json") or _settings(folder / "config.json")
    settings = settings.get("quantization_config", settings)
    if not isinstance(settings, dict) or settings.get("quant_method") != "sdnq":
        return (
            "SDNQ's settings (config.json) do not lie beside it: its numbers are taken as not rotated (use_hadamard "
            "off, SDNQ's usual choice)",
        )
    if settings.get("use_hadamard"):
        raise CheckpointError(
            f"{path.name} was rotated by SDNQ before it was rounded (use_hadamard in config.json beside it), which "
            "this version cannot read. Use a file made without use_hadamard, or the bf16 file of the same model."
        )
    return ()


def _settings(path: Path) -> dict[str, object]:
    try:
        if path.stat().st_size > _MAX_CONFIG_BYTES:
            return {}
        table = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return table if isinstance(table, dict) else {}
