"""Reads sentencepiece models (`spiece.model`) without the sentencepiece and protobuf packages."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

from ..common.errors import CheckpointError
from ..common.records import record

# Piece types and model type of sentencepiece_model.proto.
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
_UNIGRAM = 1


@record
class Piece:
    """One entry of the vocabulary; its id is its position."""

    text: str
    score: float
    type: int


@record
class SpieceModel:
    """What tokenising needs of a sentencepiece unigram model; `charsmap` is its compiled normalisation or empty."""

    pieces: tuple[Piece, ...]
    byte_fallback: bool
    end_piece: str
    charsmap: bytes
    adds_leading_space: bool
    removes_extra_spaces: bool
    escapes_spaces: bool


def read_spiece(data: bytes) -> SpieceModel:
    """Reads the bytes of a sentencepiece unigram model.

    Raises:
        CheckpointError: the bytes are damaged, no sentencepiece model, or one of another kind.

    Source: google/sentencepiece src/sentencepiece_model.proto (field numbers and defaults).
    """
    try:
        model = _decode_model(data)
    except (IndexError, ValueError, TypeError, struct.error) as error:
        raise CheckpointError(
            f"The tokenizer model (spiece.model, {len(data)} bytes, starting with {data[:12]!r}) is damaged or of "
            f"another format. Download it again."
        ) from error
    if not any(piece.type == UNKNOWN for piece in model.pieces):
        raise CheckpointError(
            f"The tokenizer model (spiece.model) has {len(model.pieces)} pieces but none for unknown text, so it is "
            f"damaged or no sentencepiece model. Download it again."
        )
    return model


def _decode_model(data: bytes) -> SpieceModel:
    pieces, trainer, normalizer = [], {}, {}
    for number, value in _fields(data):
        if number == 1:
            fields = dict(_fields(value))
            score = struct.unpack("<f", fields.get(2, b"\0\0\0\0"))[0]
            pieces.append(Piece(str(fields.get(1, b""), "utf-8"), score, fields.get(3, NORMAL)))
        elif number == 2:
            trainer = dict(_fields(value))
        elif number == 3:
            normalizer = dict(_fields(value))
    if trainer.get(3, _UNIGRAM) != _UNIGRAM or trainer.get(24, 0):
        raise CheckpointError(
            f"The tokenizer model is of sentencepiece type {trainer.get(3, _UNIGRAM)}"
            f"{' with trailing spaces' if trainer.get(24, 0) else ''}; UMT5 uses a unigram model (type 1) with "
            f"leading spaces. Use the spiece.model of google/umt5-xxl."
        )
    return SpieceModel(
        pieces=tuple(pieces),
        byte_fallback=bool(trainer.get(35, 0)),
        end_piece=str(trainer.get(47, b"</s>"), "utf-8"),
        charsmap=normalizer.get(2, b""),
        adds_leading_space=bool(normalizer.get(3, 1)),
        removes_extra_spaces=bool(normalizer.get(4, 1)),
        escapes_spaces=bool(normalizer.get(5, 1)),
    )


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """The fields of one protobuf message in order: (number, int for varints, bytes for everything else)."""
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        number, wire_type = tag >> 3, tag & 7
        if wire_type == 0:
            value, position = _varint(data, position)
        else:
            if wire_type == 2:
                size, position = _varint(data, position)
            else:
                size = {1: 8, 5: 4}.get(wire_type, -1)
            if not 0 <= size <= len(data) - position:
                raise ValueError(f"field {number} of wire type {wire_type} does not fit at byte {position}")
            value = data[position : position + size]
            position += size
        yield number, value


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """An integer of 7 bits per byte, lowest first, and the position behind it."""
    value = 0
    for shift in range(0, 70, 7):
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError(f"integer of more than 10 bytes at byte {position}")
