"""A plan of a film takes the memory of one clip, counts the work of all, and looks at two."""

from __future__ import annotations

import pytest
import wan_director
from wan_director.memory.budget import GB
from wan_director.nodes.films import clips as film_clips
from wan_director.nodes.headless.core_nodes import CORE_NODES
from wan_director.nodes.headless.graph import parse_graph
from wan_director.nodes.planning.plan import machine, plan_graph
from wan_director.nodes.planning.stages import find_stages

from ..planning.graphs import film as film_graph
from ..planning.graphs import t2v

CLASSES = {**CORE_NODES, **wan_director.NODE_CLASS_MAPPINGS}


def graph_of(**changed) -> dict:
    prompt = film_graph()
    prompt["save"]["inputs"] |= changed
    return parse_graph(prompt, CLASSES)


def stages_of(**changed):
    return {(stage.kind, stage.file): stage for stage in find_stages(graph_of(**changed)).stages}


@pytest.mark.parametrize("clips", [1, 2, 125])
def test_the_memory_is_that_of_one_clip_and_the_work_that_of_all(clips, monkeypatch):
    sampled = film_clips.sampled
    runs = []
    monkeypatch.setattr(film_clips, "sampled", lambda *args: runs.append(1) or sampled(*args))
    made, one = stages_of(clips=clips), stages_of(clips=2)
    assert len(runs) == min(clips, 2) + 2
    counted = {key: stage.clips for key, stage in made.items() if stage.clips}
    others = {("encode", "vae.safetensors"): clips - 1, ("sample", "i2v.safetensors"): clips - 1} if clips > 1 else {}
    assert counted == {("sample", "t2v.safetensors"): 1, ("decode", "vae.safetensors"): clips, **others}
    for key, stage in made.items():
        assert stage.job.task == one[key].job.task
        work = stage.job.run_work
        assert (work and work.passes) == (4 if stage.kind == "sample" else None)  # two steps, two prompts


def test_a_model_that_makes_all_clips_is_counted_for_all():
    prompt = film_graph()
    prompt["save"]["inputs"] |= {"clips": 7, "model": ["first", 0], "first_model": ["first", 0]}
    prompt["first"]["inputs"]["model_name"] = "i2v.safetensors"
    (sampling,) = [stage for stage in find_stages(parse_graph(prompt, CLASSES)).stages if stage.kind == "sample"]
    assert sampling.clips == 7


def test_the_plan_says_it_in_words():
    text = plan_graph(graph_of(clips=125), machine(8 * GB), node_classes=CLASSES).text
    assert "    for each of 124 clips of the film: 496 passes of the model in all, about 0." in text
    assert "    for 1 clip of the film: 4 passes of the model in all, about 0." in text
    assert text.count("    for each of 125 clips of the film\n") == 1  # decoded
    without_gpu = machine(8 * GB)._replace(has_gpu=False)
    assert "496 passes of the model in all\n" in plan_graph(graph_of(clips=125), without_gpu, node_classes=CLASSES).text


def test_what_is_no_film_is_planned_as_before():
    text = plan_graph(parse_graph(t2v(), CLASSES), machine(8 * GB), node_classes=CLASSES).text
    assert "clip" not in text and "passes" not in text
