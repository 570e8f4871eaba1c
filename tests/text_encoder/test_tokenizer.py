"""The tokenizer splits like sentencepiece, from every form of the vocabulary, and says what is wrong with a file."""

from __future__ import annotations

import io
import random

import pytest
import sentencepiece
from tokenizers import Tokenizer as Engine
from tokenizers import models, pre_tokenizers, processors
from wan_director.common.errors import CheckpointError, MissingFileError
from wan_director.text_encoder.spiece import BYTE, CONTROL, NORMAL, UNKNOWN, USER_DEFINED, read_spiece
from wan_director.text_encoder.tokenizer import Tokenizer

WORDS = ["a", "the", "red", "green", "blue", "circle", "square", "moves", "left", "right", "slowly", "fast", "video"]
CHINESE, JAPANESE, RUSSIAN = "\u4f60\u597d", "\u8d70\u308b", "\u0434\u043e\u043c"
ARABIC, HINDI = "\u0645\u0631\u062d\u0628\u0627", "\u0928\u092e\u0938\u094d\u0924\u0947"
SMILE, FAMILY = "\U0001f600", "\U0001f468\u200d\U0001f469\u200d\U0001f467"
WIDE_FULL, LIGATURE_FINE, SPACE_MARK = "\uff46\uff55\uff4c\uff4c", "\ufb01ne", "\u2581"
WORDS += ["background", "über", "straße", "café", CHINESE, JAPANESE, RUSSIAN]
ODD = ["", " ", "  a  b ", "<0x41>", "</s>", "<pad>", "<sep>red", f"{SPACE_MARK} red{SPACE_MARK}", "\n\t", WIDE_FULL]
ODD += [f"{SMILE} red", FAMILY, LIGATURE_FINE, "a\u0301e", "\u202eabc", ARABIC, HINDI]


def train(**options) -> bytes:
    chance = random.Random(0)
    lines = [" ".join(chance.choices(WORDS, k=chance.randrange(3, 12))) for _ in range(1500)]
    settings = {
        "model_type": "unigram",
        "vocab_size": 400,
        "hard_vocab_limit": False,
        "byte_fallback": True,
        "normalization_rule_name": "identity",
        "user_defined_symbols": ["<sep>", "[web]"],
        "pad_id": 0,
        "eos_id": 1,
        "bos_id": 2,
        "unk_id": 3,
        "num_threads": 1,
        "minloglevel": 9,
    }
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=model, **{**settings, **options}
    )
    return model.getvalue()


@pytest.fixture(scope="module")
def spiece() -> bytes:
    return train()


def sentences(count: int = 300) -> list[str]:
    chance = random.Random(1)
    letters = f"abcdeRED \u00a0  \u2460\u200b<0x41>(:)é/{CHINESE}{ARABIC}{HINDI}{SMILE}{WIDE_FULL}{SPACE_MARK}"
    lines = ODD + [" ".join(chance.choices(WORDS + ODD, k=chance.randrange(1, 12))) for _ in range(count)]
    return lines + ["".join(chance.choices(letters, k=chance.randrange(0, 30))) for _ in range(count)]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"byte_fallback": False},
        {"remove_extra_whitespaces": False},
        {"add_dummy_prefix": False},
        {"remove_extra_whitespaces": False, "add_dummy_prefix": False},
    ],
    ids=str,
)
def test_ids_equal_sentencepiece(options):
    data = train(**options)
    reference = sentencepiece.SentencePieceProcessor(model_proto=data)
    tokenizer = Tokenizer.from_spiece(data)
    assert tokenizer.vocab_size == reference.get_piece_size()
    assert tokenizer.end_id == reference.eos_id() == 1
    for text in sentences():
        assert tokenizer.encode(text) == reference.encode(text, add_eos=True), repr(text)


def test_ids_equal_sentencepiece_with_a_normalisation_table():
    data = train(normalization_rule_name="nmt_nfkc_cf")
    reference = sentencepiece.SentencePieceProcessor(model_proto=data)
    tokenizer = Tokenizer.from_spiece(data)
    for text in [*WORDS, "RED Circle", f"Straße {WIDE_FULL} {LIGATURE_FINE}", "\u2460\tred\u00a0blue", "CAFÉ"]:
        assert tokenizer.encode(text) == reference.encode(text, add_eos=True), repr(text)


def test_every_piece_is_read_as_sentencepiece_reads_it(spiece):
    reference = sentencepiece.SentencePieceProcessor(model_proto=spiece)
    model = read_spiece(spiece)
    assert len(model.pieces) == reference.get_piece_size()
    for index, piece in enumerate(model.pieces):
        assert piece.text == reference.id_to_piece(index)
        assert piece.score == reference.get_score(index)
        assert (piece.type == CONTROL) == reference.is_control(index)
        assert (piece.type == UNKNOWN) == reference.is_unknown(index)
        assert (piece.type == BYTE) == reference.is_byte(index)
    assert model.pieces[3].type == UNKNOWN
    assert {model.pieces[4].type, model.pieces[5].type} == {USER_DEFINED}
    assert model.pieces[-1].type == NORMAL
    assert model.byte_fallback and model.adds_leading_space and model.removes_extra_spaces and not model.charsmap
    assert model.end_piece == "</s>"


def test_empty_text_is_the_end_token_alone(spiece):
    assert Tokenizer.from_spiece(spiece).encode("") == [1]


def test_long_text_is_encoded_whole(spiece):
    assert len(Tokenizer.from_spiece(spiece).encode("red " * 25_000)) == 25_001


@pytest.fixture
def json_text() -> str:
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<s>", 0.0), ("<unk>", 0.0)]
    pieces += [(f"{SPACE_MARK}red", -1.0), (f"{SPACE_MARK}ball", -2.0), (SPACE_MARK, -9.0)]
    engine = Engine(models.Unigram(pieces, 3))
    engine.pre_tokenizer = pre_tokenizers.Metaspace()
    engine.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    engine.enable_truncation(4)
    engine.enable_padding(length=4)
    return engine.to_str()


def test_tokenizer_json_ends_once_and_is_neither_padded_nor_truncated(json_text):
    tokenizer = Tokenizer.from_json(json_text)
    assert tokenizer.encode("red ball") == [4, 5, 1]
    assert tokenizer.encode("red ball red ball red") == [4, 5, 4, 5, 4, 1]


def test_file_kind_is_told_by_content(tmp_path, spiece, json_text):
    (tmp_path / "a.model").write_bytes(spiece)
    (tmp_path / "b.bin").write_text(json_text, encoding="utf-8")
    assert Tokenizer.from_file(tmp_path / "a.model").encode("red") == Tokenizer.from_spiece(spiece).encode("red")
    assert Tokenizer.from_file(tmp_path / "b.bin").encode("red") == [4, 1]


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[: len(data) // 2],
        lambda data: b"<!doctype html><html>error</html>",
        lambda data: b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 4548313\n",
        lambda data: b"\xff" * 40,
        lambda data: b"\x0a\x02\x08\x01",
        lambda data: data.replace(b"</s>", b"</z>", 1),
    ],
    ids=["empty", "half", "html", "lfs", "endless integer", "number for text", "no end"],
)
def test_damaged_model_is_refused_with_one_sentence(spiece, damage):
    with pytest.raises(CheckpointError, match="tokenizer model"):
        Tokenizer.from_spiece(damage(spiece))


def test_other_model_types_are_refused():
    with pytest.raises(CheckpointError, match="type 2; UMT5 uses a unigram model"):
        Tokenizer.from_spiece(train(model_type="bpe"))


@pytest.mark.parametrize("content", [b"{", b"{}", b'{"a": "\xff"}'])
def test_damaged_json_is_refused(tmp_path, content):
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"tokenizer\.json"):
        Tokenizer.from_file(path)


def test_json_without_end_token_is_refused(json_text):
    with pytest.raises(CheckpointError, match="no '</s>'"):
        Tokenizer.from_json(json_text.replace("</s>", "</z>"))


def test_missing_file_is_named(tmp_path):
    with pytest.raises(MissingFileError, match=r"no tokenizer file .*spiece\.model"):
        Tokenizer.from_file(tmp_path / "spiece.model")


@pytest.fixture
def offline_cache(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return tmp_path


@pytest.mark.parametrize("name", ["tokenizer.json", "spiece.model"])
def test_cached_tokenizer_is_used_without_network(offline_cache, spiece, json_text, name):
    repo = offline_cache / "models--google--umt5-xxl"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text("0123")
    (repo / "snapshots" / "0123").mkdir(parents=True)
    (repo / "snapshots" / "0123" / name).write_bytes(spiece if name == "spiece.model" else json_text.encode())
    assert Tokenizer.from_hub().encode("red")[-1] == 1


def test_missing_tokenizer_says_which_file_carries_it(offline_cache):
    with pytest.raises(MissingFileError, match=r"google/umt5-xxl .* Use umt5_xxl_fp16\.safetensors"):
        Tokenizer.from_hub()
