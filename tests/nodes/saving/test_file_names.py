"""What a user writes as filename_prefix: placeholders are filled in, and every system can hold the result."""

from __future__ import annotations

import re
import time
import unicodedata

import pytest
import wan_director
from wan_director.common.errors import InvalidInputError, OutputError
from wan_director.nodes.saving import names
from wan_director.nodes.saving.names import NodeValues, file_prefix
from wan_director.nodes.saving.place import check_place
from wan_director.nodes.standin import HiddenHolder

from ..conftest import picture

PROMPT = {
    "3": {"class_type": "KSampler", "inputs": {"seed": 42, "cfg": 6.0, "name": "a/b\\c:d?", "model": ["1", 0]}},
    "9:4": {"class_type": "WanDirectorSampler", "inputs": {"seed": 7, "on": True}, "_meta": {"title": "My sampler"}},
    "5": {"class_type": "KSampler", "inputs": {"seed": 43}, "_meta": {"title": "Second"}},
}
WORKFLOW = {
    "nodes": [{"id": 5, "type": "KSampler", "properties": {"Node name for S&R": "Renamed"}, "title": "Second"}],
    "definitions": {"subgraphs": [{"nodes": [{"id": 4, "type": "WanDirectorSampler", "title": "Inner"}]}]},
}


@pytest.fixture
def at_a_time(monkeypatch):
    moment = time.struct_time((2026, 3, 9, 8, 5, 1, 0, 68, 0))
    monkeypatch.setattr(names.time, "localtime", lambda: moment)


@pytest.mark.parametrize(
    ("prefix", "filled"),
    [
        ("%date:yyyy-MM-dd%/clip", "2026-03-09/clip"),
        ("%date:yy.M.d_hh.mm.ss%", "26.3.9_08.05.01"),
        ("%date:h:m:s%", "8_5_1"),  # a colon is no letter of a file name on Windows
        ("%date:yyyMMdd%", "yyy0309"),
        ("%width%x%height%_%year%%month%%day%_%hour%%minute%%second%", "64x48_20260309_080501"),
        ("%date%_%nothing%_100%", "%date%_%nothing%_100%"),
    ],
)
def test_dates_and_sizes_are_filled_in_as_the_canvas_does(at_a_time, prefix, filled):
    assert file_prefix(prefix, 64, 48) == filled


@pytest.mark.parametrize(
    ("prefix", "filled"),
    [
        ("%KSampler.seed%_%KSampler.cfg%", "42_6"),
        ("%Renamed.seed%", "43"),
        ("%Second.seed%_%My sampler.on%_%Inner.seed%", "43_true_7"),
        ("%KSampler.name%", "a_b_c_d_"),  # a value leads into no folder
        ("%KSampler.model%_%KSampler.steps%_%Nobody.seed%", "%KSampler.model%_%KSampler.steps%_%Nobody.seed%"),
    ],
)
def test_values_of_nodes_are_filled_in(prefix, filled):
    assert file_prefix(prefix, 64, 48, NodeValues(PROMPT, WORKFLOW)) == filled


def test_a_long_value_is_cut_and_that_is_said(caplog):
    values = NodeValues({"1": {"class_type": "Text", "inputs": {"text": "word " * 100}}})
    with caplog.at_level("INFO", "wan_director"):
        assert len(file_prefix("%Text.text%", 1, 1, values)) == names.LONGEST_VALUE
    assert "first 80 characters" in caplog.text


def test_odd_graphs_give_no_value():
    odd = ({}, {"1": None}, {"1": {"class_type": "A", "inputs": None, "_meta": "x"}}, {"1": {"inputs": {"b": []}}})
    for prompt in odd:
        for workflow in (None, [], {"nodes": [None, {"properties": 3}], "definitions": {"subgraphs": [1]}}):
            assert NodeValues(prompt, workflow).find("A", "b") is None


@pytest.mark.parametrize(
    ("prefix", "portable"),
    [
        ('a:b?c*d"e<f>g|h\ti', "a_b_c_d_e_f_g_h_i"),
        ("video\\day\\clip", "video/day/clip"),
        ("con/aux.x/lpt1/clip", "con_/aux_.x/lpt1_/clip"),
        ("nul.clip", "nul_.clip"),
        ("console/com10/clip", "console/com10/clip"),
        ("a./b /c.. ./clip.", "a_/b_/c_/clip."),
        ("./a/b", "./a/b"),
        (unicodedata.normalize("NFD", "h\xe9l\xe8ne/\xe9"), "h\xe9l\xe8ne/\xe9"),
        ("", ""),
        ("plain/name 1", "plain/name 1"),
    ],
)
def test_what_a_file_system_cannot_hold_is_replaced(prefix, portable):
    assert file_prefix(prefix, 1, 1) == portable
    assert file_prefix(portable, 1, 1) == portable


def test_a_replaced_name_is_said(caplog):
    with caplog.at_level("INFO", "wan_director"):
        file_prefix("plain\\name", 1, 1)
        assert caplog.text == ""
        file_prefix("12:30", 1, 1)
    assert "'12:30' becomes '12_30'" in caplog.text


NODES = wan_director.NODE_CLASS_MAPPINGS
SAVING = pytest.mark.parametrize("node", [NODES["WanDirectorSaveVideo"], NODES["WanDirectorDecodeToVideo"]])
REFUSED = {
    "outside": ("../clip", "leads out of the output folder .* Use a name inside it"),
    "outside, in Windows' spelling": ("..\\clip", "leads out of the output folder"),
    "a drive": ("C:\\clips\\clip", "leads out of the output folder"),
    "absolute": ("/clip", "leads out of the output folder"),
    "too long": ("x" * 300, r"a name of 300 bytes, 'x{20}\.\.\.', .* takes at most 2\d\d there. Use a shorter name"),
    "too long in letters of three bytes": ("\u6f22" * 90, "a name of 270 bytes"),
    "a folder too long": (f"{'y' * 256}/clip", "a name of 256 bytes"),
    "folders too long together": ("/".join(["folder" * 30] * 30) + "/clip", "whole way .* is too long"),
    "NUL": ("clip\0name", r"holds the character U\+0000 at place 5, which no file name can have. Write the name anew"),
    "half a character": ("a\ud83dclip", r"U\+D83D at place 2"),
}


@SAVING
@pytest.mark.parametrize("case", REFUSED)
def test_an_impossible_name_is_refused_before_anything_runs(tiny_host, node, case):
    prefix, words = REFUSED[case]
    with pytest.raises(InvalidInputError, match=words):
        node.validate_inputs(filename_prefix=prefix, format="mp4-h264")
    assert not tiny_host.output.exists()


def test_the_longest_name_that_passes_the_check_can_be_saved(tiny_host):
    with pytest.raises(InvalidInputError) as refused:
        check_place("x" * 300, tiny_host.output)
    longest = int(re.search(r"at most (\d+)", str(refused.value))[1])
    check_place("x" * longest, tiny_host.output)
    with pytest.raises(InvalidInputError):
        check_place("x" * (longest + 1), tiny_host.output)
    place = tiny_host.save_place("x" * longest, 1, 1)
    place.folder.mkdir()
    (place.folder / f"{place.name}_00001_.latent").touch()


@SAVING
def test_a_place_that_cannot_be_written_is_refused_before_anything_runs(tiny_host, node):
    tiny_host.output.mkdir()
    (tiny_host.output / "clips").write_text("in the way")
    for prefix in ("clips/clip", "clips/deeper/clip"):
        with pytest.raises(OutputError, match="clips is no folder. Move that file away, or choose another name"):
            node.validate_inputs(filename_prefix=prefix, format="gif")
    (tiny_host.output / "lost").symlink_to(tiny_host.output / "nowhere")
    with pytest.raises(OutputError, match="lost is no folder"):
        node.validate_inputs(filename_prefix="lost/clip", format="gif")


@SAVING
def test_the_check_leaves_nothing(tiny_host, node):
    tiny_host.output.mkdir()
    assert node.validate_inputs(filename_prefix="a/%date:yyyy%/b", format="mp4-h264") is True
    assert node.validate_inputs(filename_prefix=None, format=None) is True  # both come over wires
    assert list(tiny_host.output.iterdir()) == []
    with pytest.raises(InvalidInputError, match="no format 'avi'. Choose one of: mp4-h264"):
        node.validate_inputs(filename_prefix="clip", format="avi")


def test_a_full_disk_is_found_before_anything_runs(tiny_host):
    """A limit on the size of files stands for the full disk."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
    try:
        with pytest.raises(OutputError, match=r"MB free\). Free some room there, or choose another output folder"):
            check_place("clip", tiny_host.output)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_the_nodes_fill_in_values_of_the_graph_that_runs(tiny_host):
    node = type("Node", (NODES["WanDirectorSaveVideo"],), {})
    node.hidden = HiddenHolder(unique_id="8", prompt=PROMPT, extra_pnginfo={"workflow": WORKFLOW})
    file = {"fps": 8.0, "filename_prefix": "%Renamed.seed%/%KSampler.seed%:a", "format": "png frames", "quality": 50}
    (shown,) = node.execute(images=picture(), **file).ui.as_dict()["images"]
    assert shown["subfolder"] == "43/42_a_00001_"
    assert (tiny_host.output / shown["subfolder"] / shown["filename"]).is_file()
