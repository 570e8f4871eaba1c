"""Lists and language models in a real ComfyUI: each batch once, each video in its order, each question once."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image
from wan_director.nodes.writing.remembered import METADATA_KEY

from ..engine.writing.chat_server import Chat, served
from ..engine.writing.tiny_language_model import WORDS, save_language_model
from .test_comfyui_server import first, prompt_of


def files_of(record: dict) -> list[str]:
    assert record["status"]["status_str"] == "success", record["status"]
    outputs = [output for output in record["outputs"].values() if "images" in output]
    return [str(Path(image["subfolder"], image["filename"])) for output in outputs for image in output["images"]]


def test_prompts_in_batches_come_back_in_their_order(comfyui):
    prompt = prompt_of("tiny_batch_prompts")
    first(prompt, "WanDirectorSampler")["steps"] = 2
    first(prompt, "WanDirectorDecodeToVideo").update(format="gif", filename_prefix="batches")
    files = files_of(comfyui.run(prompt))
    sizes = [Image.open(comfyui.folder / "output" / name).size for name in files]
    assert sizes == [(64, 64), (96, 64), (64, 64), (96, 64)]


def test_a_prompt_is_written_once_and_saved_with_every_video_of_it(comfyui):
    prompt = prompt_of("tiny_t2v")
    with served(Chat(pieces=("a red circle", " grows"))) as chat:
        prompt["90"] = {
            "class_type": "WanDirectorEnhancePrompt",
            "inputs": {
                "prompt": "a circle", "task": "text to video", "model": "at the address", "address": chat.address,
                "server_model": "", "language": "English", "seed": 0, "temperature": 0.5, "max_tokens": 32,
            },
        }  # fmt: skip
        first(prompt, "WanDirectorTextEncode")["positive"] = ["90", 0]
        first(prompt, "WanDirectorSaveVideo").update(format="png frames", filename_prefix="enhanced")
        for seed in (1, 2):
            first(prompt, "WanDirectorSampler").update(seed=seed, steps=1)
            record = comfyui.run(prompt)
            (name, *_) = files_of(record)
            with Image.open(comfyui.folder / "output" / name) as picture:
                assert json.loads(picture.info[METADATA_KEY]) == {"90": "a red circle grows"}
        assert len(chat.asked) == 1
    assert record["status"]["status_str"] == "success"


def test_a_model_in_the_models_folder_writes_and_the_canvas_is_shown_what(comfyui):
    save_language_model(comfyui.folder / "models" / "LLM" / "tiny words")
    prompt = prompt_of("tiny_t2v")
    prompt["90"] = {
        "class_type": "WanDirectorEnhancePrompt",
        "inputs": {
            "prompt": "a red ball", "task": "text to video", "model": "tiny words", "address": "", "server_model": "",
            "language": "English", "seed": 3, "temperature": 1.0, "max_tokens": 6,
        },
    }  # fmt: skip
    first(prompt, "WanDirectorTextEncode")["positive"] = ["90", 0]
    first(prompt, "WanDirectorSampler")["steps"] = 1
    record = comfyui.run(prompt)
    assert record["status"]["status_str"] == "success", record["status"]
    (text,) = record["outputs"]["90"]["text"]
    assert text and set(text.split()) <= set(WORDS)
    info = comfyui.get_json("/object_info/WanDirectorEnhancePrompt")["WanDirectorEnhancePrompt"]
    assert "tiny words" in info["input"]["required"]["model"][1]["options"]


def test_without_a_language_model_the_sentence_says_what_to_do(comfyui):
    prompt = prompt_of("t2v_1.3B_enhanced")
    first(prompt, "WanDirectorEnhancePrompt")["address"] = ""
    prompt_id, answer = comfyui.queue(prompt)
    assert prompt_id is None and "No language model was chosen" in json.dumps(answer)
