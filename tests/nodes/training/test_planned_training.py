"""A graph with Wan Train LoRA is planned: the same stage as of the command line's plan, before anything is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest
from wan_director.common.errors import OutOfMemory
from wan_director.engine.local import LocalRuntime
from wan_director.memory.budget import GB
from wan_director.nodes.headless.graph import parse_graph
from wan_director.nodes.hosts.command_line import HeadlessHost
from wan_director.nodes.hosts.host import hosted_by
from wan_director.nodes.planning.plan import machine, plan_graph
from wan_director.nodes.planning.rehearsal import rehearse
from wan_director.tuning.datasets.reading import found_clips
from wan_director.tuning.fitting.before import planned_training
from wan_director.tuning.fitting.plan import plan_for
from wan_director.tuning.settings import DatasetSettings, ModelFiles, OutputSettings, TrainingSettings

from .test_training_nodes import CLIPS, NODES, pictures, widgets

__all__ = ["pictures"]

FP8 = "wan2.1_t2v_14B_fp8_scaled.safetensors"


@pytest.fixture
def here(tmp_path):
    mine = HeadlessHost(inputs=(tmp_path,), output=tmp_path / "out", runtime=LocalRuntime("cpu"))
    with hosted_by(mine):
        yield mine


def graph(model: str = "wan_director_tiny_demo_t2v.safetensors", **changes):
    def node(class_type: str, **inputs):
        return {"class_type": class_type, "inputs": inputs}

    bundled = model.startswith("wan_director")
    names = (
        ("wan_director_tiny_demo_text_encoder.safetensors", "wan_director_tiny_demo_vae.safetensors")
        if bundled
        else ("umt5_xxl_fp8_e4m3fn_scaled.safetensors", "wan_2.1_vae.safetensors")
    )
    prompt = {
        "model": node("WanDirectorLoadModel", model_name=model, precision="auto", attention="auto"),
        "text": node("WanDirectorLoadTextEncoder", text_encoder_name=names[0], precision="auto", device="auto"),
        "vae": node("WanDirectorLoadVAE", vae_name=names[1], precision="auto"),
        "clips": node("WanDirectorDataset", source="pictures", **{**CLIPS, "width": 1280, "height": 720}),
        "train": node(
            "WanDirectorTrainLora", model=["model", 0], text_encoder=["text", 0], vae=["vae", 0], dataset=["clips", 0],
            **widgets(**{"rank": 16, **changes}),
        ),
    }  # fmt: skip
    return parse_graph(prompt, NODES)


def test_the_stage_is_that_of_the_command_line(here, pictures):
    plan = plan_graph(graph(FP8), machine(12 * GB, 64 * GB))
    (train,) = [each for each in plan.stages if each.stage.kind == "train"]
    settings = TrainingSettings(ModelFiles("", "", ""), DatasetSettings(""), OutputSettings(""))
    found = found_clips(NODES["WanDirectorDataset"].execute(
        source="pictures", **{**CLIPS, "width": 1280, "height": 720}
    ).args[0].parts)  # fmt: skip
    step = planned_training(settings, found, Path(FP8), "cuda")
    expected = plan_for(step, settings.memory, 11 * GB, train.pinned)
    assert (train.choice.swapped, train.choice.way) == (expected.choice.swapped, expected.choice.way)
    assert train.choice.device_bytes == expected.device_bytes and train.choice.swapped > 0
    assert [each.stage.kind for each in plan.stages] == ["text", "encode", "train"]
    assert "train  " in plan.text and "inputs of blocks wait in RAM for the way back: " in plan.text
    assert "per prompt" not in plan.text.split("train  ")[1]


def test_the_widgets_of_memory_are_its_limit_and_the_prior_is_a_stage(here, pictures):
    prior = {"prior_prompts": "a cat", "prior_width": 1280, "prior_height": 720}
    plan = plan_graph(graph(FP8, budget="use at most", gigabytes=9.0, **prior), machine(24 * GB))
    stages = {each.stage.kind: each for each in plan.stages}
    assert list(stages) == ["text", "encode", "train", "sample"]
    assert stages["train"].limit == 9 * GB >= stages["train"].choice.device_bytes
    assert stages["sample"].stage.job.video == (1, 720, 1280)
    with pytest.raises(OutOfMemory, match="WanDirectorTrainLora.*: It does not fit into 2.0 GB: to train takes"):
        plan_graph(graph(FP8, budget="use at most", gigabytes=2.0), machine(24 * GB)).check()


def test_a_training_is_rehearsed_without_writing_anything(here, pictures):
    rehearse(graph(), NODES)
    assert not (here.output / "loras").exists()


def test_the_budget_is_that_of_the_training(here, pictures):
    """Too little is refused before a step; what is learned does not depend on it."""
    given = {"budget": "use at most", "gigabytes": 0.001}
    model = NODES["WanDirectorLoadModel"]
    loaded = {
        "model": model.execute(
            model_name="wan_director_tiny_demo_t2v.safetensors", precision="fp32", attention="auto"
        ).args[0],
        "text_encoder": NODES["WanDirectorLoadTextEncoder"].execute(
            text_encoder_name="wan_director_tiny_demo_text_encoder.safetensors", precision="auto", device="auto"
        ).args[0],
        "vae": NODES["WanDirectorLoadVAE"].execute(
            vae_name="wan_director_tiny_demo_vae.safetensors", precision="auto"
        ).args[0],
    }  # fmt: skip
    clips = NODES["WanDirectorDataset"].execute(source="pictures", **CLIPS).args[0]
    train = NODES["WanDirectorTrainLora"]
    with pytest.raises(OutOfMemory, match="does not fit into 1 MB: to train takes"):
        train.execute(**loaded, dataset=clips, **widgets(**given))
    train.execute(**loaded, dataset=clips, **widgets(name="free"))
    train.execute(**loaded, dataset=clips, **widgets(name="fits", budget="use at most", gigabytes=1.0))
    first, second = ((here.trained_folder() / f"{each}.safetensors").read_bytes() for each in ("free", "fits"))
    assert first.replace(b'"free"', b'"fits"') == second
