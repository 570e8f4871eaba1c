"""Wan Enhance Prompt: asked once for the same inputs, planned without asking, its text in the files that are saved."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import wan_director
from PIL import Image
from wan_director.__main__ import main
from wan_director.common.errors import InvalidInputError, MissingFileError, WritingError
from wan_director.nodes.headless.core_nodes import CORE_NODES
from wan_director.nodes.headless.graph import parse_graph
from wan_director.nodes.headless.runner import run_graph
from wan_director.nodes.planning.stages import find_stages
from wan_director.nodes.saving.result import metadata_of
from wan_director.nodes.standin import HiddenHolder
from wan_director.nodes.writing.enhance import AT_ADDRESS, WanDirectorEnhancePrompt, language_models
from wan_director.nodes.writing.remembered import METADATA_KEY, Remembered, graph_key, texts_in

from ...engine.writing.chat_server import Chat, served
from ...engine.writing.tiny_language_model import WORDS, save_language_model
from ..conftest import call
from ..headless.conftest import node
from ..planning.graphs import t2v

CLASSES = {**CORE_NODES, **wan_director.NODE_CLASS_MAPPINGS}
USUAL = {
    "task": "text to video", "address": "", "server_model": "", "language": "English", "seed": 0, "temperature": 0.7,
    "max_tokens": 8,
}  # fmt: skip


def enhance(prompt: str = "a cat", model: str = AT_ADDRESS, **inputs):
    return call("EnhancePrompt", prompt=prompt, model=model, **USUAL | inputs)


@pytest.fixture(autouse=True)
def hosted(tiny_host):
    return tiny_host


@pytest.fixture
def local(models: Path, hosted):
    """The name of a language model in models/LLM, one folder down."""
    save_language_model(models / "LLM" / "Tiny" / "words")
    hosted.folders = {**hosted.folders, "LLM": [models / "LLM"]}
    return "Tiny/words"


def graph(**inputs) -> dict:
    prompt = t2v()
    prompt["write"] = node("WanDirectorEnhancePrompt", **{"prompt": "a cat", "model": AT_ADDRESS, **USUAL, **inputs})
    prompt["text"]["inputs"]["positive"] = ["write", 0]
    return prompt


def test_a_local_model_is_listed_and_writes(local):
    assert language_models() == [local]
    assert set(enhance(model=local).split()) <= set(WORDS)


def test_the_same_question_is_asked_once_and_another_again():
    with served(Chat()) as chat:
        texts = [enhance("once", address=chat.address, seed=seed) for seed in (1, 1, 2)]
        enhance("once", address=chat.address, seed=1, task="edit")
        assert texts == ["A cat runs."] * 3 and len(chat.asked) == 3
        systems = [body["messages"][0]["content"] for _, body in chat.asked]
        assert systems[0] == systems[1] != systems[2]


def test_a_picture_and_instructions_of_the_users_own_go_along():
    picture = torch.rand(1, 2048, 1024, 3)
    with served(Chat()) as chat:
        enhance("shown", address=chat.address, image=picture, instructions="Be brief.")
        messages = chat.asked[0][1]["messages"]
    assert messages[0]["content"] == "Be brief."
    assert messages[1]["content"][1]["image_url"]["url"].startswith("data:image/png;base64,")


REFUSED = {
    "nobody": ({}, InvalidInputError, "No language model was chosen. Put one into models/LLM"),
    "no address": ({"address": "localhost"}, InvalidInputError, "is no address of a language model"),
    "gone": ({"model": "gone"}, MissingFileError, "no language model 'gone' in models/LLM; there are: "),
    "outside": ({"model": "../x"}, InvalidInputError, "leads out of the models folders"),
    "a task": ({"address": "http://127.0.0.1/v1", "task": "x"}, InvalidInputError, "The task is one of"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case):
    inputs, error, words = REFUSED[case]
    with pytest.raises(error, match=words):
        enhance(**inputs)


def test_a_model_that_sees_nothing_is_refused_before_it_is_loaded(local):
    with pytest.raises(WritingError, match="words sees no pictures"):
        enhance(model=local, image=torch.rand(1, 8, 8, 3))


def test_a_changed_model_is_another(local, models):
    before = WanDirectorEnhancePrompt.fingerprint_inputs(model=local)
    assert before == WanDirectorEnhancePrompt.fingerprint_inputs(model=local) != AT_ADDRESS
    (models / "LLM" / "Tiny" / "words" / "config.json").touch()
    assert WanDirectorEnhancePrompt.fingerprint_inputs(model=local) != before
    assert WanDirectorEnhancePrompt.fingerprint_inputs(model="gone") == "missing"
    assert WanDirectorEnhancePrompt.validate_inputs(model=local, address="") is True
    assert "No language model was chosen" in str(WanDirectorEnhancePrompt.validate_inputs(AT_ADDRESS, ""))


def test_a_plan_asks_nobody_and_refuses_what_the_run_would():
    with served(Chat()) as chat:
        planned = find_stages(parse_graph(graph(address=chat.address), CLASSES), node_classes=CLASSES)
        assert [stage.kind for stage in planned.stages] == ["text", "sample", "decode"]
        assert not planned.passed_over and not chat.asked
    with pytest.raises(InvalidInputError, match="No language model was chosen"):
        find_stages(parse_graph(graph(), CLASSES), node_classes=CLASSES)


def test_the_text_is_in_the_file_and_asked_once_for_a_run_and_its_rehearsal(hosted):
    with served(Chat(pieces=("A red", " tree stands."))) as chat:
        prompt = graph(prompt="a tree", address=chat.address)
        prompt["save"]["inputs"] |= {"format": "png frames", "filename_prefix": "enhanced"}
        shown = run_graph(parse_graph(prompt, CLASSES), CLASSES)
        assert len(chat.asked) == 1
    assert {"text": ["A red tree stands."]} in shown
    (saved,) = [each["images"][0] for each in shown if "images" in each]
    with Image.open(hosted.output / saved["subfolder"] / saved["filename"]) as picture:
        assert json.loads(picture.info[METADATA_KEY]) == {"write": "A red tree stands."}


def test_a_run_that_did_not_ask_again_saves_the_text_all_the_same():
    """ComfyUI does not run a node again whose inputs are the same; what saves has but the graph to go by."""
    prompt = graph(prompt="kept", address="http://127.0.0.1/v1")
    given = {"unique_id": "write", "prompt": prompt, "extra_pnginfo": {}}
    with served(Chat()) as chat:
        running = type("Running", (WanDirectorEnhancePrompt,), {"hidden": HiddenHolder(**given)})
        running.execute(prompt="kept", model=AT_ADDRESS, **USUAL | {"address": chat.address})
    assert given["extra_pnginfo"] == {METADATA_KEY: {"write": "A cat runs."}}
    prompt["sample"]["inputs"]["seed"] = 99  # another video of the same text
    assert metadata_of(HiddenHolder(prompt=prompt))[METADATA_KEY] == {"write": "A cat runs."}
    prompt["write"]["inputs"]["seed"] = 5  # another text, which nobody has written yet
    assert METADATA_KEY not in metadata_of(HiddenHolder(prompt=prompt))


def test_what_decides_a_text_is_the_node_and_all_above_it():
    prompt = {"1": node("A", x=1), "2": node("B", a=["1", 0]), "3": node("C", b=["2", 0]), "4": node("D")}
    key = graph_key(prompt, "2")
    assert key == graph_key({**prompt, "3": node("C", b=5), "4": node("E")}, "2")
    assert key != graph_key({**prompt, "1": node("A", x=2)}, "2")
    assert graph_key(prompt, "9") is graph_key(None, "2") is None
    assert texts_in(None) == {} == texts_in(prompt)
    round_about = {"1": node("A", x=["2", 0]), "2": node("B", a=["1", 0])}
    assert graph_key(round_about, "1") != graph_key(round_about, "2")


def test_only_the_last_texts_are_remembered():
    texts = Remembered(most=2)
    for name in "abc":
        texts.once(name, lambda: "text")
    assert [texts.get(name) for name in "abc"] == [None, "text", "text"]


def test_the_command_line_writes_with_a_model_in_its_models_folder(local, models, tmp_path, capsys):
    prompt = graph(model=local)
    prompt["save"]["inputs"] |= {"format": "gif"}
    file = tmp_path / "graph.json"
    file.write_text(json.dumps(prompt))
    out = str(tmp_path / "out")
    assert main(["run", str(file), "--models", str(models), "--output", out, "--device", "cpu"]) == 0
    captured = capsys.readouterr()
    assert "The prompt written out: " in captured.err and captured.out.endswith(".gif\n")
