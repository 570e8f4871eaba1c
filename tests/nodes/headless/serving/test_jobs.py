"""Graphs as jobs: what they take along, what is refused before they are queued, how they are made."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from wan_director import NODE_CLASS_MAPPINGS
from wan_director.cluster.folder import SharedFolder
from wan_director.cluster.jobs import Leased
from wan_director.cluster.worker import NoLonger
from wan_director.common.errors import GraphError, InvalidInputError, WanDirectorError
from wan_director.engine.resuming.folder import StateFolder
from wan_director.engine.resuming.kept import RunsInFolder
from wan_director.nodes.headless.core_nodes import CORE_NODES
from wan_director.nodes.headless.graph import parse_graph
from wan_director.nodes.headless.graph.api_format import as_prompt
from wan_director.nodes.headless.model_paths import models_in
from wan_director.nodes.headless.serving.asking import request_of, with_input_files
from wan_director.nodes.headless.serving.checking import checker, model_key
from wan_director.nodes.headless.serving.job_host import JobHost, NotingHost
from wan_director.nodes.headless.serving.making import GraphMaker
from wan_director.nodes.headless.serving.told import WorkerRuntime
from wan_director.nodes.hosts.command_line import HeadlessHost
from wan_director.nodes.hosts.host import has_host, host, use_host

from ..conftest import node

CLASSES = {**CORE_NODES, **NODE_CLASS_MAPPINGS}


class Noted:
    """A report that is kept; it may stop the maker at a step."""

    def __init__(self, maker: GraphMaker | None = None, stop_at: float = math.inf) -> None:
        self.maker, self.stop_at = maker, stop_at
        self.reached: list[int] = []
        self.said: list[str] = []
        self.pictures: list[bytes] = []

    def steps(self, reached: int) -> None:
        self.reached.append(reached)
        if self.maker is not None and reached >= self.stop_at:
            self.maker.stop()

    def words(self, said: str) -> None:
        self.said.append(said)

    def picture(self, jpeg: bytes) -> None:
        self.pictures.append(jpeg)


@pytest.fixture
def maker(models: Path, tmp_path: Path) -> Iterator[GraphMaker]:
    earlier = host() if has_host() else None
    folder = SharedFolder(tmp_path / "shared")
    runs = RunsInFolder(StateFolder(folder.states), every_s=0.0, keeps_ended=True, cost=math.inf)
    yield GraphMaker(folder, models_in(models), CLASSES, WorkerRuntime("cpu", kept_runs=runs), use_host)
    if earlier is not None:
        use_host(earlier)


def leased(prompt: dict, model: str = "m", **files: str) -> Leased:
    return Leased("0" * 16, "lease", model, prompt, None, files, 60.0)


def made(maker: GraphMaker, prompt: dict, output: Path, report: Noted | None = None) -> bytes:
    maker.make(leased(prompt), output, report or Noted())
    (video,) = (output / "video").iterdir()
    return video.read_bytes()


def test_a_job_that_another_worker_began_is_gone_on_with_to_the_bit(maker, prompt, tmp_path):
    prompt["6"]["inputs"]["steps"] = 6
    whole = made(maker, prompt, tmp_path / "whole")
    maker.made()
    with pytest.raises(NoLonger):
        maker.make(leased(prompt), tmp_path / "broken", Noted(maker, stop_at=3))
    assert not (tmp_path / "broken").exists() and len(list(maker.folder.states.iterdir())) == 1
    report = Noted()
    assert made(maker, prompt, tmp_path / "gone_on", report) == whole
    assert report.reached[0] == 3, "no step was lost"
    maker.made()
    assert list(maker.folder.states.iterdir()) == []


def test_what_is_told_of_a_job_are_its_steps_words_and_pictures(maker, prompt, tmp_path):
    report = Noted()
    made(maker, prompt, tmp_path, report)
    assert report.reached[-1] == 2 and report.reached == sorted(report.reached)
    assert any(said.startswith("Sampling: step 2 of 2") for said in report.said)
    assert all(picture.startswith(b"\xff\xd8") for picture in report.pictures) and report.pictures


def test_models_stay_for_the_next_job_of_the_same_ones(maker, prompt, tmp_path):
    made(maker, prompt, tmp_path / "1")
    first = set(map(id, maker.runtime.warm._held.values()))
    made(maker, prompt, tmp_path / "2")
    assert set(map(id, maker.runtime.warm._held.values())) == first and first
    maker.runtime.begin(Noted(), "other")
    assert not maker.runtime.warm._held


def with_picture(prompt: dict, name: str) -> dict:
    """A graph with a node that loads a picture."""
    prompt["9"] = node("LoadImage", image=name)
    prompt["10"] = node("SaveImage", images=["9", 0], filename_prefix="pictures/a")
    return prompt


def test_input_files_go_along_under_plain_names(prompt, models, tmp_path):
    (tmp_path / "in").mkdir()
    for folder, colour in ((tmp_path, "red"), (tmp_path / "in", "blue")):
        Image.new("RGB", (16, 16), colour).save(folder / "cat.png")
    graph = with_picture(prompt, "cat.png")
    graph["11"] = node("LoadImage", image=str(tmp_path / "in" / "cat.png"))
    graph["12"] = node("SaveImage", images=["11", 0], filename_prefix="pictures/b")
    graph["4"]["inputs"]["positive"] = "cat.png"
    named, files = with_input_files(parse_graph(graph, CLASSES), CLASSES, NotingHost(HeadlessHost(inputs=(tmp_path,))))
    assert files == {"cat.png": tmp_path / "cat.png", "cat_2.png": tmp_path / "in" / "cat.png"}
    said = request_of(named, CLASSES, None, "A cat", 0)
    assert said["prompt"]["11"]["inputs"]["image"] == "cat_2.png" and len(said["key"]) == 32
    checked = checker(CLASSES, models_in(models))(said["prompt"], files)
    assert checked.prompt["9"]["inputs"]["image"] == "cat.png" and len(checked.model) == 16


@pytest.mark.parametrize("name", ["/etc/passwd", "../token", "cat.png [output]", "other.png", "..\\token"])
def test_no_input_file_but_those_of_the_job_is_read(prompt, models, tmp_path, name):
    (tmp_path / "token").write_text("secret")
    with pytest.raises(InvalidInputError, match="no input file"):
        JobHost(inputs=(tmp_path,), given={"cat.png": tmp_path / "cat.png"}).input_file(name)
    with pytest.raises(WanDirectorError):
        checker(CLASSES, models_in(models))(as_prompt(parse_graph(with_picture(prompt, name), CLASSES)), {})


HOSTILE = {
    "a prefix that leads out": ("8", "filename_prefix", "../../evil", "leads out of the output folder"),
    "a model of another folder": ("1", "model_name", "../../../etc/passwd", "leads out of the models folders"),
    "a number beyond all bounds": ("5", "width", 10**9, "must be at most 8192"),
    "a wire in place of a text": ("4", "positive", ["5", 0], "takes STRING"),
}


@pytest.mark.parametrize("case", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_value_is_refused_before_the_job_is_queued(prompt, models, case):
    id, name, value, said = case
    prompt[id]["inputs"][name] = value
    with pytest.raises(WanDirectorError, match=said):
        checker(CLASSES, models_in(models))(prompt, {})


def test_a_graph_that_is_too_large_or_too_deep_is_refused(prompt, models):
    check = checker(CLASSES, models_in(models))
    with pytest.raises(GraphError, match="10,008 nodes"):
        check({**prompt, **{f"x{each}": prompt["1"] for each in range(10_000)}}, {})
    deep: list = []
    for _ in range(150):
        deep = [deep]
    with pytest.raises(GraphError, match="within each other"):
        check({**prompt, "9": node("LoadImage", image={"__value__": deep})}, {})
    for nodes in ({}, {"1": 3}, {"1": {"class_type": "os.system", "inputs": {}}}, {"1": {"class_type": ["a"]}}):
        with pytest.raises(GraphError):
            check(nodes, {})


def test_a_job_asks_no_server_of_the_network(prompt, models):
    prompt["9"] = node(
        "WanDirectorEnhancePrompt", prompt="a", task="text to video", model="at the address",
        address="http://127.0.0.1:80/v1", server_model="", language="English", seed=1, temperature=0.5, max_tokens=50,
    )  # fmt: skip
    prompt["4"]["inputs"]["positive"] = ["9", 0]
    with pytest.raises(GraphError, match="may not"):
        checker(CLASSES, models_in(models))(prompt, {})


def test_a_job_has_as_many_gpus_as_its_graph_wants(prompt, models):
    check = checker(CLASSES, models_in(models))
    assert check(prompt, {}).gpus == 1
    for id, gpus in (("20", 2), ("21", 4)):
        prompt[id] = node("WanDirectorMemory", gpus=gpus)
    prompt["6"]["inputs"]["memory"] = ["20", 0]
    assert check(prompt, {}).gpus == 2, "the other one is connected to nothing"


def test_jobs_of_the_same_models_have_one_key(prompt):
    key = model_key(parse_graph(prompt, CLASSES))
    prompt["6"]["inputs"]["seed"] = 7
    assert model_key(parse_graph(prompt, CLASSES)) == key
    prompt["1"]["inputs"]["model_name"] = "i2v.safetensors"
    assert model_key(parse_graph(prompt, CLASSES)) != key
    assert model_key({}) == ""
