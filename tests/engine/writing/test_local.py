"""A language model in a folder: the words of transformers, seeded, stopped between tokens, refused in a sentence."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from wan_director.common.errors import (
    CheckpointError,
    InvalidInputError,
    MissingFileError,
    MissingPackageError,
    WritingError,
)
from wan_director.engine.local import Interrupted, LocalRuntime
from wan_director.engine.writing.asked import LANGUAGES, TASKS, WritingTask, instructions, prompt_of
from wan_director.engine.writing.local import LocalWriter, is_language_model

from .tiny_language_model import WORDS, save_language_model, save_vision_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return save_language_model(tmp_path_factory.mktemp("LLM") / "tiny")


def ask(prompt: str = "a red ball", **more) -> WritingTask:
    return WritingTask("a video of", prompt, **{"most_tokens": 12, **more})


def test_the_likeliest_words_are_those_of_transformers(folder):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer("[system] a video of [user] a red ball [assistant] ", return_tensors="pt").input_ids
    model = AutoModelForCausalLM.from_pretrained(folder)
    for _ in range(12):  # by hand, a token at a time
        ids = torch.cat([ids, model(ids).logits[:, -1:].argmax(-1)], dim=1)
    expected = tokenizer.decode(ids[0, -12:], skip_special_tokens=True)
    assert LocalWriter(folder).write(ask(temperature=0.0), LocalRuntime("cpu")) == expected


def test_a_seed_gives_one_text_and_leaves_the_random_numbers_of_others(folder):
    writer, runtime = LocalWriter(folder), LocalRuntime("cpu")
    before = torch.random.get_rng_state()
    texts = [writer.write(ask(seed=seed, temperature=1.0), runtime) for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2] and set(texts[0].split()) <= set(WORDS)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_it_stops_between_two_tokens_and_lets_go_of_the_model(folder):
    class Stopping(LocalRuntime):
        asked = 0

        def check_interrupt(self) -> None:
            self.asked += 1
            if self.asked > 3:
                raise Interrupted

    runtime = Stopping("cpu")
    with pytest.raises(Interrupted):
        LocalWriter(folder).write(ask(most_tokens=400, temperature=1.0), runtime)
    assert runtime.asked == 4
    assert not list(runtime.models)


def test_a_model_with_vision_looks_at_the_picture_and_needs_none(tmp_path):
    """The words that the model and its processor give by themselves for this picture, a token at a time."""
    from transformers import AutoModelForImageTextToText, AutoProcessor

    folder = save_vision_model(tmp_path / "seeing")
    writer, processor = LocalWriter(folder), AutoProcessor.from_pretrained(folder)
    model = AutoModelForImageTextToText.from_pretrained(folder)
    texts = []
    for colour in ((255, 0, 0), (0, 0, 255)):
        picture = Image.new("RGB", (64, 48), colour)
        file = io.BytesIO()
        picture.save(file, "PNG")
        writer.check(has_picture=True)
        texts.append(writer.write(ask(picture=file.getvalue(), temperature=0.0), LocalRuntime("cpu")))
        inputs = processor(images=picture, text="a video of <image> a red ball", return_tensors="pt")
        ids = inputs.input_ids
        for _ in range(12):
            logits = model(input_ids=ids, pixel_values=inputs.pixel_values).logits
            ids = torch.cat([ids, logits[:, -1:].argmax(-1)], dim=1)
        assert texts[-1] == processor.decode(ids[0, -12:], skip_special_tokens=True)
    assert texts[0] != texts[1]
    assert set(writer.write(ask(), LocalRuntime("cpu")).split()) <= set(WORDS)


def test_what_is_no_language_model_is_refused(folder, tmp_path, monkeypatch):
    with pytest.raises(MissingFileError, match="There is no language model in"):
        LocalWriter(tmp_path)
    damaged = tmp_path / "damaged"
    save_language_model(damaged)
    (damaged / "config.json").write_text("[")
    with pytest.raises(CheckpointError, match="config.json of damaged is damaged"):
        LocalWriter(damaged)
    with pytest.raises(WritingError, match="tiny sees no pictures"):
        LocalWriter(folder).check(has_picture=True)
    plain = LocalWriter(save_language_model(tmp_path / "plain", template=None))
    with pytest.raises(CheckpointError, match="plain is no model to talk to"):
        plain.write(ask(), LocalRuntime("cpu"))
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingPackageError, match="transformers is not installed"):
        LocalWriter(folder).check(has_picture=False)


def test_no_code_of_a_folder_is_run_and_no_pickle_read(tmp_path):
    folder = save_language_model(tmp_path / "own")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "its_own", "auto_map": {"AutoModelForCausalLM": "code.Model", "AutoConfig": "code.Config"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(CheckpointError, match="own cannot be read as a language model"):
        LocalWriter(folder).write(ask(), LocalRuntime("cpu"))
    assert not (tmp_path / "ran").exists()
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    assert not is_language_model(folder)


ANSWERS = {
    "<think>hm\nwell</think>\n\nA cat\nruns.": "A cat runs.",
    '"A cat runs."': "A cat runs.",
    "**Prompt:** A cat runs.": "A cat runs.",
    "Enhanced prompt: \u201cA cat runs.\u201d": "A cat runs.",
    'A sign says "stop" and "go"': 'A sign says "stop" and "go"',
    '"Stop" and "go"': '"Stop" and "go"',
    "```\nA cat\n```": "A cat",
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_only_the_prompt_of_an_answer_is_kept(answer):
    assert prompt_of(answer) == ANSWERS[answer]


@pytest.mark.parametrize("answer", ["", "  \n", "<think>I am still", '""'])
def test_an_answer_without_a_prompt_is_refused(answer):
    with pytest.raises(WritingError, match="gave no prompt"):
        prompt_of(answer)


def test_a_question_without_sense_is_refused():
    for wrong, words in (
        ({"prompt": " "}, "The prompt is empty"),
        ({"prompt": "a" * 20_001}, "has 20,001 characters"),
        ({"most_tokens": 0}, "max_tokens is 1 to 4096"),
        ({"temperature": 3.0}, "temperature 0 to 2"),
    ):
        with pytest.raises(InvalidInputError, match=words):
            ask(**wrong)


def test_every_task_has_rules_of_its_own():
    told = {
        instructions(task, language, has_picture=seen) for task in TASKS for language in LANGUAGES for seen in (0, 1)
    }
    assert len(told) == len(TASKS) * len(LANGUAGES) * 2
