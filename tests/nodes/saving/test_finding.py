"""Results found again by the name that the canvas gives them: without the subfolder that they were saved in."""

from __future__ import annotations

from pathlib import Path

import pytest
from wan_director.common.errors import InvalidInputError
from wan_director.nodes.saving.finding import result_in_subfolder


@pytest.fixture
def output(tmp_path: Path) -> Path:
    for name in ("video/clip.mp4", "video/old/deep.mp4", "one/same.mp4", "two/same.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_a_bare_name_finds_the_result_in_its_subfolder(output: Path):
    assert result_in_subfolder("clip.mp4", output) == output / "video" / "clip.mp4"
    assert result_in_subfolder("deep.mp4", output) == output / "video" / "old" / "deep.mp4"


@pytest.mark.parametrize("name", ["gone.mp4", "old/deep.mp4", "old\\deep.mp4", "../clip.mp4", "..", ""])
def test_any_other_name_finds_nothing(output: Path, name: str):
    assert result_in_subfolder(name, output) is None


def test_a_name_of_several_results_is_refused(output: Path):
    with pytest.raises(InvalidInputError, match="2 results are called same.mp4: one/same.mp4, two/same.mp4. Write"):
        result_in_subfolder("same.mp4", output)


def test_the_command_line_finds_what_the_canvas_chose(output: Path, tiny_host):
    tiny_host.output = output
    assert tiny_host.input_file("clip.mp4 [output]") == output / "video" / "clip.mp4"
    assert tiny_host.input_file("gone.mp4 [output]") == output / "gone.mp4"
    assert not tiny_host.input_file("clip.mp4").exists()
