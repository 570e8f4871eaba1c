"""The tokenizer in the metadata of a GGUF text encoder, rebuilt as a sentencepiece model."""

from __future__ import annotations

import math

from ...common.errors import FileFault
from ...text_encoder.spiece import BYTE, UNKNOWN, Piece, SpieceModel
from .faults import damaged
from .gguf_file import GgufFile

_PREFIX = "tokenizer.ggml."
_TOKENS = _PREFIX + "tokens"
_MODEL = "t5"  # llama.cpp's name of a unigram model
_DEFAULT_END = "1"


def piece_count(file: GgufFile) -> int:
    """Number of pieces of the tokenizer in a file's metadata; 0 if it has none."""
    tokens = file.arrays.get(_TOKENS)
    return 0 if tokens is None else tokens.count


def read_gguf_tokenizer(file: GgufFile) -> SpieceModel | None:
    """The sentencepiece model in a file's metadata, or None if it has none.

    llama.cpp numbers the types of pieces as sentencepiece does and fills the vocabulary up with unused ones.

    Raises:
        FileFault: the metadata is damaged or describes another kind of tokenizer.

    Source: ggml-org/llama.cpp, convert_hf_to_gguf.py (T5Model.set_vocab).
    """
    if _TOKENS not in file.arrays:
        return None
    kind = file.metadata.get(_PREFIX + "model", "")
    if kind != _MODEL:
        raise FileFault(
            f"has a tokenizer of the kind {kind[:40]!r}; UMT5 has one of the kind {_MODEL!r}",
            "Use the UMT5 GGUF of another publisher, or the .safetensors file",
        )
    texts, count = file.texts(_TOKENS), piece_count(file)
    scores, types = _numbers(file, "scores", count), _numbers(file, "token_type", count)
    if not all(map(math.isfinite, scores)):
        raise damaged("its tokenizer has scores that are no numbers")
    pieces = tuple(Piece(str(text), float(s), int(t)) for text, s, t in zip(texts, scores, types, strict=True))
    return SpieceModel(
        pieces=pieces,
        byte_fallback=any(piece.type == BYTE for piece in pieces),
        end_piece=_end_piece(file, pieces),
        charsmap=_charsmap(file),
        adds_leading_space=file.metadata.get(_PREFIX + "add_space_prefix", "True") == "True",
        removes_extra_spaces=file.metadata.get(_PREFIX + "remove_extra_whitespaces", "True") == "True",
        escapes_spaces=True,
    )


def _numbers(file: GgufFile, name: str, count: int) -> list[float]:
    place = file.arrays.get(_PREFIX + name)
    if place is None or place.count != count or place.kind in "s?":
        raise damaged(f"its tokenizer has no list of {count} {name}")
    return file.numbers(_PREFIX + name)


def _end_piece(file: GgufFile, pieces: tuple[Piece, ...]) -> str:
    text = file.metadata.get(_PREFIX + "eos_token_id", _DEFAULT_END)
    if not text.isdecimal() or int(text) >= len(pieces) or not any(piece.type == UNKNOWN for piece in pieces):
        raise damaged("its tokenizer has no piece for the end or for unknown text")
    return pieces[int(text)].text


def _charsmap(file: GgufFile) -> bytes:
    """sentencepiece's compiled normalisation; UMT5 has none."""
    place = file.arrays.get(_PREFIX + "precompiled_charsmap")
    if place is None:
        return b""
    if place.kind not in "Bb":
        raise damaged("its tokenizer has a charsmap that is not made of bytes")
    return bytes(int(value) & 0xFF for value in file.numbers(_PREFIX + "precompiled_charsmap"))
