"""`run --prompts FILE`: each line runs the workflow with its prompt, size, pictures and values."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import wan_director
from PIL import Image
from wan_director.__main__ import main
from wan_director.nodes.batches.lines import read_lines
from wan_director.nodes.headless.commands.prompt_lines import assignments
from wan_director.nodes.headless.core_nodes import CORE_NODES
from wan_director.nodes.headless.graph import parse_graph

from ..planning.graphs import i2v
from .conftest import node

CLASSES = {**CORE_NODES, **wan_director.NODE_CLASS_MAPPINGS}


@pytest.fixture
def run(models: Path, tmp_path: Path, capsys):
    """Runs `wan-director run --prompts`; gives (exit code, the saved files, standard error)."""

    def run(prompt: dict, lines: str, *options: str):
        (tmp_path / "graph.json").write_text(json.dumps(prompt))
        file = tmp_path / "lines" / "prompts.txt"
        file.parent.mkdir(exist_ok=True)
        file.write_text(lines, encoding="utf-8")
        places = ["--models", str(models), "--output", str(tmp_path / "out"), "--device", "cpu"]
        code = main(["run", str(tmp_path / "graph.json"), "--prompts", str(file), *places, *options])
        captured = capsys.readouterr()
        return code, [Path(line) for line in captured.out.splitlines()], captured.err

    return run


def test_each_line_makes_its_video_in_its_size_with_its_prompt(run, prompt):
    prompt["8"]["inputs"]["format"] = "gif"
    code, files, said = run(prompt, "80x48x9 | a red ball\n# no\n3.device=cpu | 6.seed=7 | a tree\na tree\n")
    assert code == 0, said
    assert [file.name for file in files] == [f"test_0000{number}_.gif" for number in (1, 2, 3)]
    assert [(Image.open(file).size, Image.open(file).n_frames) for file in files] == [
        ((80, 48), 9), ((64, 48), 5), ((64, 48), 5),
    ]  # fmt: skip
    assert files[1].read_bytes() != files[2].read_bytes()
    assert "Line 1: a red ball" in said and "Line 4: a tree" in said


def test_each_line_takes_its_picture_beside_the_file_of_prompts(run, tmp_path):
    (tmp_path / "lines").mkdir()
    for name, colour in (("red.png", (255, 0, 0)), ("blue.png", (0, 0, 255))):
        Image.new("RGB", (64, 96), colour).save(tmp_path / "lines" / name)
    code, files, said = run(i2v(), "red.png | 64x96x5 | a ball\nblue.png | 64x96x5 | a ball")
    assert code == 0, said
    assert len(files) == 2 and files[0].read_bytes() != files[1].read_bytes()


def test_where_a_line_goes(prompt):
    def said(graph: dict, line: str) -> list[str]:
        return list(assignments(read_lines(line)[0], parse_graph(graph, CLASSES), CLASSES))

    assert said(prompt, "64x48x5 | 6.seed=7 | a = b") == [
        "4.positive=a = b", "5.width=64", "5.height=48", "5.frames=5", "6.seed=7",
    ]  # fmt: skip
    # A text that comes over a wire is set where it is written.
    wired = {**prompt, "9": node("PrimitiveStringMultiline", value="old")}
    wired["4"]["inputs"]["positive"] = ["9", 0]
    assert said(wired, "new") == ["9.value=new"]
    wired["9"] = node("WanDirectorEnhancePrompt", prompt="few words", instructions="")
    assert said(wired, "new") == ["9.prompt=new"]
    native = {
        "1": node("CLIPTextEncode", clip=["3", 0], text="good"),
        "2": node("CLIPTextEncode", clip=["3", 0], text="bad"),
        "3": node("CLIPLoader", clip_name="text.safetensors", type="wan"),
        "4": node("KSampler", positive=["5", 0], negative=["2", 0]),
        "5": node("ConditioningSetTimestepRange", conditioning=["1", 0], start=0.0, end=1.0),
    }
    assert said(native, "new") == ["1.text=new"]


REFUSED = {
    "a picture too many": (
        "a.png | a",
        "Line 1 of the prompts: it names 1 picture, and the workflow has no Load Image nodes",
    ),
    "a size that cannot be": ("a\n70x48x5 | a", "Line 2 of the prompts: "),
    "an unknown node": ("Sampla.seed=7 | a", "Line 1 of the prompts: The workflow has no node 'Sampla'"),
    "nothing": ("# a", "There is no prompt"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_wrong_with_any_line_is_said_before_the_first_runs(run, prompt, tmp_path, case):
    lines, words = REFUSED[case]
    code, files, said = run(prompt, lines, "--quiet")
    assert code == 1 and not files and words in said and said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_picture_that_is_not_there_is_refused_with_its_line(run):
    code, _, said = run(i2v(), "gone.png | 64x96x5 | a ball", "--quiet")
    assert code == 1 and "Line 1 of the prompts: " in said and "gone.png" in said


def test_a_file_that_is_none_is_one_sentence(run, prompt, tmp_path, capsys):
    (tmp_path / "graph.json").write_text(json.dumps(prompt))
    for name, words in (
        ("gone.txt", "There is no file"),
        ("bytes.txt", "is no text in UTF-8"),
        (".", "cannot be read"),
    ):
        (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\x00")
        assert main(["run", str(tmp_path / "graph.json"), "--quiet", "--prompts", str(tmp_path / name)]) == 1
        assert words in capsys.readouterr().err


def test_two_prompts_are_not_guessed_between(prompt):
    prompt["9"] = node("WanDirectorTextEncode", text_encoder=["3", 0], positive="b", negative="")
    prompt["6"]["inputs"]["source"] = ["9", 0]
    with pytest.raises(
        wan_director.common.errors.GraphError, match="2 nodes with a prompt.*Set all but one in the line"
    ):
        list(assignments(read_lines("a")[0], parse_graph(prompt, CLASSES), CLASSES))


def test_of_two_prompts_a_line_may_set_one_by_its_node(prompt):
    prompt["9"] = node("WanDirectorTextEncode", text_encoder=["3", 0], positive="b", negative="")
    prompt["6"]["inputs"]["source"] = ["9", 0]
    found = list(assignments(read_lines("4.positive=there | now")[0], parse_graph(prompt, CLASSES), CLASSES))
    assert found == ["9.positive=now", "4.positive=there"]


def test_a_node_whose_positive_goes_nowhere_takes_no_prompt(prompt):
    """As in a workflow with Wan Prompt Travel, where it is there for its negative."""
    prompt["6"]["inputs"]["positive"] = ["4", 1]
    with pytest.raises(wan_director.common.errors.GraphError, match="no node whose prompt a line may set"):
        list(assignments(read_lines("a")[0], parse_graph(prompt, CLASSES), CLASSES))
