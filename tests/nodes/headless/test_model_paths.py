"""ComfyUI's extra_model_paths.yaml: read as ComfyUI does, and refused in one sentence when it is anything else."""

from __future__ import annotations

from pathlib import Path

import pytest
from wan_director.common.errors import InvalidInputError
from wan_director.nodes.headless.model_paths import extra_model_paths

NESTED = "a: " + "[" * 5000 + "]" * 5000
_PAIRS = zip("abcdefghi", "bcdefghij")
BOMB = "a: &a [x, x]\n" + "".join(f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in _PAIRS)


@pytest.fixture
def read(tmp_path: Path):
    def read(text: str | bytes):
        path = tmp_path / "extra_model_paths.yaml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return extra_model_paths(path)

    return read


@pytest.mark.parametrize(
    "text",
    [
        "- 1\n- 2", "1", "true", "just text", "a: 1", "a: text", "a: [x]", "a: {vae: 1}", "a: {vae: [x, y]}",
        "a: {vae: {x: y}}", "a: {base_path: 3}", "a: {base_path: [x]}", "a: {vae: true}", "a: {vae: 2026-01-01}",
        "a: {vae: 1.5}", 'a: {vae: "x\\0y"}', "a: {", "a: b: c", "\t- x", "a: *unknown", "!!python/object:os.system x",
        NESTED, BOMB, b"\xff\xfe\x00", b"a: \xe9", "? [x]\n: {vae: y}\n? [x]\n: 1", "{}: 3", "b: !!set {c}",
        "\x00",
    ],
    ids=lambda text: ascii(text)[:30],
)  # fmt: skip
def test_what_is_not_of_that_form_is_refused(read, text):
    with pytest.raises(InvalidInputError, match="extra_model_paths.yaml is not in the form of") as raised:
        read(text)
    assert len(str(raised.value)) < 400 and "\n" not in str(raised.value)


def test_an_empty_file_names_nothing(read):
    assert not any(read("").values()) and not any(read("# nothing\na:\nb: ~\n").values())
    assert not any(read("a: {other: [1, 2], checkpoints: 3, vae: ''}").values())


def test_home_and_variables_are_filled_in(read, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DISK", "/disk")
    assert read("a: {base_path: ~/x, vae: vae}")["vae"] == [tmp_path / "home" / "x" / "vae"]
    assert read("a: {base_path: $HOME/x, vae: vae}")["vae"] == [tmp_path / "home" / "x" / "vae"]
    assert read("a: {base_path: '${DISK}/x', vae: vae}")["vae"] == [Path("/disk/x/vae")]
    assert read("a: {base_path: $UNKNOWN_HERE/x, vae: vae}")["vae"] == [tmp_path / "$UNKNOWN_HERE" / "x" / "vae"]
    assert read("a: {base_path: ~nosuchuser/x, vae: vae}")["vae"] == [tmp_path / "~nosuchuser" / "x" / "vae"]


def test_a_default_section_comes_first(read):
    text = "a: {base_path: /a, vae: vae}\nb: {base_path: /b, vae: vae, is_default: true}"
    assert read(text)["vae"] == [Path("/b/vae"), Path("/a/vae")]


def test_an_editor_of_windows_may_have_written_it(read):
    assert read(b"\xef\xbb\xbfa:\r\n  base_path: /a\r\n  vae: |\r\n    vae\r\n    more\r\n")["vae"] == [
        Path("/a/vae"),
        Path("/a/more"),
    ]
