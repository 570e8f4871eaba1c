"""Cleaning, emphasis and encoding of prompts: any string works, the shape is fixed, the numbers are ComfyUI's."""

from __future__ import annotations

import logging
import random
import sys
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Engine
from tokenizers import models, normalizers
from wan_director.nodes.text import OFFICIAL_NEGATIVE
from wan_director.text_encoder.cleaning import clean_prompt
from wan_director.text_encoder.encode import (
    encode_prompt,
    encode_tokens,
    tokenize_prompt,
    tokenize_weighted_prompt,
)
from wan_director.text_encoder.tokenizer import Tokenizer
from wan_director.text_encoder.umt5 import UMT5Config, UMT5Encoder
from wan_director.text_encoder.weighting import parse_weights

ROOM = 24
ARABIC = "\u062a\u0631\u0642\u0635 \u0627\u0644\u0642\u0637\u0629"
CHINESE = "\u8272\u8c03\u8273\u4e3d"
ANY_TEXT = st.text(alphabet=st.characters(), max_size=60)  # lone surrogates and NUL included


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    """Single characters, so that the position of every token is plain to see."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<s>", 0.0), ("<unk>", 0.0)]
    engine = Engine(models.Unigram(pieces + [(letter, -2.0) for letter in "abcdefghij():,"], 3))
    engine.normalizer = normalizers.Replace(" ", "")
    return Tokenizer(engine, 1)


@pytest.fixture(scope="module")
def encoder() -> UMT5Encoder:
    torch.manual_seed(0)
    return UMT5Encoder(UMT5Config(vocab=20, dim=16, attention_dim=16, ffn_dim=32, heads=2, layers=2)).eval()


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("", ""),
        (" \n\t\u00a0\u3000 ", ""),
        ("  a\r\n  cat\u2003 runs ", "a cat runs"),
        ("salt &amp;amp; pepper &lt;3", "salt & pepper <3"),
        ("a\0cat", "acat"),
        ("a \ud800 cat", "a \ufffd cat"),
        ("\ud83d\ude00", "\U0001f600"),
        (ARABIC, ARABIC),
        (CHINESE, CHINESE),
    ],
)
def test_prompt_is_cleaned(text, cleaned):
    assert clean_prompt(text) == cleaned


def test_broken_encoding_is_mended_when_ftfy_is_there():
    pytest.importorskip("ftfy")
    assert clean_prompt("cafÃ©") == "café"


def test_cleaning_works_without_ftfy(monkeypatch):
    monkeypatch.setitem(sys.modules, "ftfy", None)
    assert clean_prompt(" a \ud800\0 &amp; b ") == "a \ufffd & b"


@pytest.mark.parametrize(
    "text",
    [
        OFFICIAL_NEGATIVE,
        "a \u201cred\u201d ball\u2019s shadow, \uff08very:1.2\uff09 big\uff01\u3000\ufb01ne",
        "cafe\u0301 \uff76\uff80\uff76\uff85",
    ],
)
def test_sound_text_is_cleaned_alike_with_and_without_ftfy(monkeypatch, text):
    pytest.importorskip("ftfy")
    with_ftfy = clean_prompt(text)
    monkeypatch.setitem(sys.modules, "ftfy", None)
    assert clean_prompt(text) == with_ftfy


MADE_PLAIN = {
    "digraphs and ligatures": "\u0133s \u0149 \u01c6 \u01f1 \ufb05 \ufb06 \ufb01",
    "byte order mark": "\ufeffa cat",
    "control characters": "a\x0b \x1f cat\x7f \u206a \ufff9 \ufffc",
    "next line": "a cat\x85 a dog \x93red\x94 \x81",
    "line breaks": "a\r\nb\rc\u2028d\u2029e\x0cf",
    "terminal colours": "a \x1b[31mred\x1b[0m \x1b\uff3b1m cat",
    "entities": "caf&EACUTE; &#xFB01;ne &rsquo; &hellip; &#133; &amp;&amp;lt; &nope; &#x110000; &#12;3; &GT;",
    "entities beside a tag": "&EACUTE;\n&EACUTE; <b> &#x2019;\n&EACUTE; &amp;EACUTE;",
    "composed after the width": "\uff76\uff9e &#x41;\u030a \uff21\u030a",
}


@pytest.mark.parametrize("text", MADE_PLAIN.values(), ids=MADE_PLAIN)
def test_unusual_forms_are_made_plain_alike_with_and_without_ftfy(monkeypatch, text):
    pytest.importorskip("ftfy")
    with_ftfy = clean_prompt(text)
    monkeypatch.setitem(sys.modules, "ftfy", None)
    assert clean_prompt(text) == with_ftfy


def test_every_character_is_cleaned_alike_with_and_without_ftfy(monkeypatch):
    """All of Unicode but private use and surrogates, each between letters: 149,000 characters and the unassigned."""
    pytest.importorskip("ftfy")
    ranges = (range(1, 0xD800), range(0xF900, 0x20000), range(0xE0000, 0xE0200))
    prompts = [f"a{chr(code)}b {chr(code)}" for codes in ranges for code in codes]
    # In blocks, with a line for each character, as ftfy mends line by line.
    blocks = ["\n".join(prompts[start : start + 512]) for start in range(0, len(prompts), 512)]
    with_ftfy = [clean_prompt(block) for block in blocks]
    monkeypatch.setitem(sys.modules, "ftfy", None)
    assert [clean_prompt(block) for block in blocks] == with_ftfy


def test_2000_prompts_of_mixed_scripts_are_cleaned_alike_with_and_without_ftfy(monkeypatch):
    """Where neighbours happen to look like text in a wrong encoding only ftfy can mend it, so that is off here."""
    ftfy = pytest.importorskip("ftfy")
    monkeypatch.setattr(ftfy, "fix_text", partial(ftfy.fix_text, fix_encoding=False))
    choose = random.Random(6)
    starts = (0x20, 0x100, 0x1C0, 0x370, 0x400, 0x5D0, 0x620, 0x900, 0xE00, 0x10A0, 0x1E00, 0x2000, 0x2060, 0x20A0)
    starts += (0x3000, 0x3040, 0x30A0, 0x4E00, 0xAC00, 0xFB00, 0xFE70, 0xFF00, 0xFFC0, 0x1F600)
    extras = (
        "\ufeff",
        "\x85",
        "\u2026",
        "\u201c",
        "&amp;",
        "&EACUTE;",
        "&#8217;",
        "\r\n",
        "\x1b[0m",
        "\u0301",
        "\0",
        "\x07",
    )

    def word():
        start = choose.choice(starts)
        letters = [chr(start + choose.randrange(95)) for _ in range(choose.randint(1, 8))]
        return "".join(letters) + (choose.choice(extras) if choose.random() < 0.3 else "")

    prompts = [" ".join(word() for _ in range(choose.randint(1, 30))) for _ in range(2000)]
    with_ftfy = [clean_prompt(prompt) for prompt in prompts]
    monkeypatch.setitem(sys.modules, "ftfy", None)
    assert [clean_prompt(prompt) for prompt in prompts] == with_ftfy


@settings(max_examples=60)
@given(ANY_TEXT)
def test_cleaned_text_is_valid_and_clean(text):
    cleaned = clean_prompt(text)
    assert "\0" not in cleaned
    assert cleaned == cleaned.strip()
    cleaned.encode("utf-8")


@pytest.mark.parametrize(
    ("prompt", "segments"),
    [
        ("", []),
        ("a red ball", [("a red ball", 1.0)]),
        ("a (red:1.2) ball", [("a ", 1.0), ("red", 1.2), (" ball", 1.0)]),
        ("a (red) ball", [("a ", 1.0), ("red", 1.1), (" ball", 1.0)]),
        ("((red))", [("red", 1.1 * 1.1)]),
        ("(a (b:0.5) c)", [("a ", 1.1), ("b", 0.5), (" c", 1.1)]),
        ("(a (b) c:2)", [("a ", 2.0), ("b", 2.0 * 1.1), (" c", 2.0)]),
        ("(red:-1)", [("red", -1.0)]),
        ("(ratio 4:3:1.5)", [("ratio 4:3", 1.5)]),
        ("(red:strong)", [("red:strong", 1.1)]),
        ("(:1.2)", [(":1.2", 1.1)]),
        ("(red:)", [("red:", 1.1)]),
        ("(red:nan) (b:inf)", [("red:nan", 1.1), (" ", 1.0), ("b:inf", 1.1)]),
        ("()", []),
        (r"a \(red:1.2\) ball", [("a (red:1.2) ball", 1.0)]),
        (r"(a \(b\):1.3)", [("a (b)", 1.3)]),
        ("[red] {ball}", [("[red] {ball}", 1.0)]),
        ("a (b", [("a ", 1.0), ("(b", 1.0)]),
        ("smile :) (b:2)", [("smile :) (b:2)", 1.0)]),
        ("\uff08\u7ea2\u8272:1.2\uff09", [("\uff08\u7ea2\u8272:1.2\uff09", 1.0)]),
    ],
)
def test_weights_are_read_as_in_comfyui(prompt, segments):
    assert parse_weights(prompt) == segments


@pytest.mark.parametrize("prompt", ["(" * 5_000 + ")" * 5_000, "(" * 50_000, ")" * 50_000, "((a:1.2) " * 9_000])
def test_deep_nesting_neither_fails_nor_hangs(prompt):
    assert parse_weights(prompt)


def test_embedding_is_that_of_the_real_tokens_and_zeros(encoder, tokenizer):
    embedding = encode_prompt(encoder, tokenizer, "abc", max_tokens=ROOM)
    assert embedding.shape == (1, ROOM, 16) and embedding.dtype == torch.float32 and not embedding.requires_grad
    with torch.no_grad():
        assert torch.equal(embedding[:, :4], encoder(torch.tensor([[4, 5, 6, 1]])))
    assert not embedding[:, 4:].any()


def test_padding_before_the_encoder_gives_the_same(encoder, tokenizer):
    ids = tokenizer.encode("abcde")
    padded = torch.tensor([ids + [0] * (ROOM - len(ids))])
    mask = torch.arange(ROOM)[None] < len(ids)
    with torch.no_grad():
        official = encoder(padded, mask) * mask[..., None]
    ours = encode_prompt(encoder, tokenizer, "abcde", max_tokens=ROOM)
    assert (ours - official).abs().max() / official.abs().max() < 3e-6


def test_empty_prompt_is_the_end_token_and_zeros(encoder, tokenizer):
    embedding = encode_prompt(encoder, tokenizer, " \n ", max_tokens=ROOM)
    assert embedding[0, 0].any() and not embedding[0, 1:].any()


def test_long_prompt_keeps_its_beginning_and_says_how_much_was_dropped(encoder, tokenizer, caplog):
    with caplog.at_level(logging.INFO, logger="wan_director"):
        tokens = tokenize_prompt(tokenizer, "ab" * 20, max_tokens=ROOM)
    assert tokens.ids == (*((4, 5) * 20)[: ROOM - 1], 1)
    assert len(caplog.records) == 1
    assert "has 41 tokens, the model reads 24: the last 17 are left out" in caplog.text
    assert encode_tokens(encoder, tokens, max_tokens=ROOM).shape == (1, ROOM, 16)


def test_prompt_that_just_fits_is_kept_in_silence(tokenizer, caplog):
    assert len(tokenize_prompt(tokenizer, "a" * (ROOM - 1), max_tokens=ROOM).ids) == ROOM
    assert not caplog.records


def test_parentheses_are_plain_text_without_weights(tokenizer):
    tokens = tokenize_prompt(tokenizer, "(a)", max_tokens=ROOM)
    assert tokens.ids == (14, 4, 15, 1)
    assert set(tokens.weights) == {1.0}


def test_weights_belong_to_the_tokens_of_their_words(tokenizer):
    tokens = tokenize_weighted_prompt(tokenizer, "ab (cd:1.5) e", max_tokens=ROOM)
    assert tokens.ids == (4, 5, 6, 7, 8, 1)
    assert tokens.weights == (1.0, 1.0, 1.5, 1.5, 1.0, 1.0)


def encode_weighted_prompt(encoder, tokenizer, prompt):
    return encode_tokens(encoder, tokenize_weighted_prompt(tokenizer, prompt, max_tokens=ROOM), max_tokens=ROOM)


@pytest.mark.parametrize("prompt", ["", "abc", "a (bc:1.0) d", r"a \(b\)"])
def test_weight_one_changes_no_bit(encoder, tokenizer, prompt):
    plain = encode_prompt(encoder, tokenizer, prompt.replace("(bc:1.0)", "bc").replace("\\", ""), max_tokens=ROOM)
    assert torch.equal(encode_weighted_prompt(encoder, tokenizer, prompt), plain)


def test_weight_moves_only_its_words_away_from_the_empty_prompt(encoder, tokenizer):
    plain = encode_prompt(encoder, tokenizer, "abcd", max_tokens=ROOM)
    empty = encode_prompt(encoder, tokenizer, "", max_tokens=ROOM)
    inside = encode_weighted_prompt(encoder, tokenizer, "a(bc:1.5)d")
    assert torch.equal(inside[:, [0, 3, 4]], plain[:, [0, 3, 4]])
    assert torch.allclose(inside[:, 1:3], plain[:, 1:3] * 1.5)  # the empty prompt is zero there
    first = encode_weighted_prompt(encoder, tokenizer, "(a:1.5)bcd")
    assert torch.equal(first[:, 1:], plain[:, 1:])
    assert torch.allclose(first[:, 0], empty[:, 0] + 1.5 * (plain[:, 0] - empty[:, 0]))


@settings(max_examples=40)
@given(ANY_TEXT)
def test_any_string_is_a_prompt(encoder, tokenizer, text):
    plain = encode_prompt(encoder, tokenizer, text, max_tokens=ROOM)
    for embedding in (plain, encode_weighted_prompt(encoder, tokenizer, text)):
        assert embedding.shape == (1, ROOM, 16)
        assert torch.isfinite(embedding).all()


HUGE = {"letters": "a" * 100_000, "emoji": "\U0001f600" * 30_000, "groups": "(a:1.1)" * 3_000, "tags": "<" * 50_000}


@pytest.mark.parametrize("text", HUGE.values(), ids=HUGE)
def test_huge_prompts_keep_the_shape(encoder, tokenizer, text):
    assert encode_weighted_prompt(encoder, tokenizer, text).shape == (1, ROOM, 16)
