"""Prompt text to token ids, by the `tokenizers` package, from any form in which the UMT5 vocabulary is published."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..common.errors import CheckpointError, MissingFileError, MissingPackageError
from ..common.log import logger
from .spiece import BYTE, NORMAL, UNKNOWN, USER_DEFINED, SpieceModel, read_spiece

if TYPE_CHECKING:
    import tokenizers

END = "</s>"
_HUB_FILES = ("tokenizer.json", "spiece.model")


class Tokenizer:
    """Splits text into pieces of a fixed vocabulary; make one with `from_spiece`, `from_file` or `from_hub`.

    A character outside the vocabulary becomes its UTF-8 bytes or `<unk>`, as the file says.
    """

    def __init__(self, engine: tokenizers.Tokenizer, end_id: int):
        self._engine = engine
        self.end_id = end_id

    @property
    def vocab_size(self) -> int:
        """Number of ids, special ones included."""
        return self._engine.get_vocab_size(with_added_tokens=True)

    def encode(self, text: str) -> list[int]:
        """Ids of `text` and the final `</s>`; the empty text is `</s>` alone.

        Text is taken as it is, see `clean_prompt`; it must not contain lone surrogates.
        """
        return [*self._engine.encode(text, add_special_tokens=False).ids, self.end_id]

    @classmethod
    def from_spiece(cls, data: bytes) -> Tokenizer:
        """From the bytes of a sentencepiece unigram model, as `spiece_model` in ComfyUI's text encoder files.

        Raises:
            CheckpointError: see `read_spiece`; or the model has no end piece.
        """
        return cls.from_model(read_spiece(data))

    @classmethod
    def from_model(cls, model: SpieceModel) -> Tokenizer:
        """From a sentencepiece model that has been read already.

        Raises:
            CheckpointError: it has no end piece, or the engine refuses its normalisation.
        """
        texts = [piece.text for piece in model.pieces]
        if model.end_piece not in texts:
            raise CheckpointError(
                f"The tokenizer model has {len(texts)} pieces but no {model.end_piece!r}, which ends every prompt. "
                f"Use the spiece.model of google/umt5-xxl."
            )
        return cls(_engine_of(model), texts.index(model.end_piece))

    @classmethod
    def from_json(cls, text: str) -> Tokenizer:
        """From the text of a `tokenizer.json`.

        Raises:
            CheckpointError: the text is damaged or has no `</s>`.
        """
        try:
            engine = _tokenizers().Tokenizer.from_str(text)
        except Exception as error:  # a border: the package raises nothing more precise
            raise CheckpointError(
                f"tokenizer.json cannot be read ({error}). Download it again from google/umt5-xxl."
            ) from error
        end_id = engine.token_to_id(END)
        if end_id is None:
            raise CheckpointError(
                f"tokenizer.json has {engine.get_vocab_size()} pieces but no {END!r}, which ends every prompt. "
                f"Use the one of google/umt5-xxl."
            )
        engine.no_truncation()
        engine.no_padding()
        return cls(engine, end_id)

    @classmethod
    def from_file(cls, path: str | Path) -> Tokenizer:
        """From a `tokenizer.json` or a `spiece.model`, told apart by content.

        Raises:
            MissingFileError: there is no such file.
            CheckpointError: the file is neither.
        """
        path = Path(path)
        if not path.is_file():
            raise MissingFileError(f"There is no tokenizer file {path}. Give a tokenizer.json or a spiece.model.")
        data = path.read_bytes()
        if data.lstrip()[:1] != b"{":
            return cls.from_spiece(data)
        try:
            return cls.from_json(data.decode("utf-8"))
        except UnicodeDecodeError as error:
            raise CheckpointError(f"{path.name} is not UTF-8 text (byte {error.start}). Download it again.") from error

    @classmethod
    def from_hub(cls, repo: str = "google/umt5-xxl") -> Tokenizer:
        """From the Hugging Face cache; downloaded into it first when it is not there.

        Raises:
            MissingFileError: it is not in the cache and cannot be downloaded.
        """
        return cls.from_file(_cached_file(repo) or _download(repo))


def _tokenizers():
    try:
        import tokenizers
    except ImportError as error:
        raise MissingPackageError(
            "The package tokenizers is not installed, prompts need it. Install it: pip install tokenizers"
        ) from error
    return tokenizers


def _engine_of(model: SpieceModel) -> tokenizers.Tokenizer:
    """The engine that splits like sentencepiece: the same normalisation, pieces and scores.

    UMT5's vocabulary has no charsmap. With one, a few sequences of combining marks come out differently: the
    engine applies it to whole graphemes.

    Source: google/sentencepiece src/normalizer.cc (order of the steps).
    """
    from_package = _tokenizers()
    normalizers, regex = from_package.normalizers, from_package.Regex
    space = "\u2581" if model.escapes_spaces else " "
    steps = [_charsmap_step(model.charsmap)] if model.charsmap else []
    if model.removes_extra_spaces:
        steps += [normalizers.Replace(regex(r"\A +"), ""), normalizers.Replace(regex(" {2,}"), " ")]
    if model.adds_leading_space:
        steps.append(normalizers.Prepend(" "))
    steps.append(normalizers.Replace(" ", space))
    if model.removes_extra_spaces:
        steps.append(normalizers.Replace(regex(rf"{space}+\z"), ""))
    unknown = next(index for index, piece in enumerate(model.pieces) if piece.type == UNKNOWN)
    engine = from_package.Tokenizer(from_package.models.Unigram(_scored_pieces(model), unknown, model.byte_fallback))
    engine.normalizer = normalizers.Sequence(steps)
    if model.byte_fallback:
        # Text that happens to read "<0x41>" is not the byte 0x41: cut it behind the "<".
        byte_name = regex(r"(?<=<)0x[0-9A-F]{2}>")
        engine.pre_tokenizer = from_package.pre_tokenizers.Split(byte_name, "merged_with_next")
    return engine


def _charsmap_step(charsmap: bytes) -> tokenizers.normalizers.Normalizer:
    try:
        return _tokenizers().normalizers.Precompiled(charsmap)
    except Exception as error:  # a border: the package raises nothing more precise
        raise CheckpointError(
            f"The tokenizer model has a damaged charsmap of {len(charsmap)} bytes ({error}). Download it again."
        ) from error


def _scored_pieces(model: SpieceModel) -> list[tuple[str, float]]:
    """Vocabulary for the engine, in which text can only match what sentencepiece would match.

    Source: google/sentencepiece src/unigram_model.cc: user-defined pieces beat any path over the same bytes;
    control, unknown and unused pieces never match text.
    """
    best = max((piece.score for piece in model.pieces if piece.type == NORMAL), default=0.0)
    scored = []
    for piece in model.pieces:
        if piece.type == NORMAL:
            scored.append((piece.text, piece.score))
        elif piece.type == USER_DEFINED:
            scored.append((piece.text, len(piece.text.encode()) * best - 0.1))
        elif piece.type == BYTE:
            scored.append((piece.text, 0.0))
        else:  # NUL is in no prompt, so this entry only keeps its id
            scored.append((f"\0{piece.text}", 0.0))
    return scored


def _cached_file(repo: str) -> str | None:
    """Path of the tokenizer in the Hugging Face cache, without touching the network."""
    from huggingface_hub import try_to_load_from_cache

    found = (try_to_load_from_cache(repo, name) for name in _HUB_FILES)
    return next((path for path in found if isinstance(path, str)), None)


def _download(repo: str) -> str:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.utils import EntryNotFoundError, LocalEntryNotFoundError

    logger.info("Downloading the tokenizer %s to the Hugging Face cache.", repo)
    reason: Exception | None = None
    for name in _HUB_FILES:
        try:
            return hf_hub_download(repo, name)
        except LocalEntryNotFoundError as error:  # no network, or switched off by HF_HUB_OFFLINE
            reason = error
            break
        except EntryNotFoundError as error:  # the repository has no such file: try the other
            reason = error
        except (OSError, ValueError) as error:  # no such repository, refused, disk full
            reason = error
            break
    raise MissingFileError(
        f"The text encoder file carries no tokenizer, and {repo} is neither in the Hugging Face cache nor can it be "
        f"downloaded ({type(reason).__name__}). Use umt5_xxl_fp16.safetensors, which carries its tokenizer, or put "
        f"the spiece.model or tokenizer.json of {repo} beside the text encoder file."
    ) from reason
