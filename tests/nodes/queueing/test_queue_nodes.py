"""Wan Submit and Wan Fetch against a queue that is served and a worker that works: nothing of the job runs here."""

from __future__ import annotations

import threading
import wave

import numpy as np
import pytest
import torch
from PIL import Image
from wan_director import NODE_CLASS_MAPPINGS
from wan_director.cluster.client import TOKEN, URL, QueueClient
from wan_director.cluster.desk import Desk
from wan_director.cluster.folder import SharedFolder
from wan_director.cluster.queue import JobQueue, Rules
from wan_director.cluster.server import Address, QueueServer
from wan_director.cluster.worker import Worker
from wan_director.common.errors import ClusterError, GraphError, InvalidInputError, WanDirectorError
from wan_director.engine.local import Interrupted, LocalRuntime
from wan_director.nodes.headless.core_nodes import CORE_NODES
from wan_director.nodes.headless.graph import parse_graph
from wan_director.nodes.headless.runner import run_graph
from wan_director.nodes.headless.serving.checking import checker
from wan_director.nodes.headless.serving.making import GraphMaker
from wan_director.nodes.headless.serving.told import WorkerRuntime
from wan_director.nodes.hosts.command_line import HeadlessHost
from wan_director.nodes.hosts.host import has_host, host, hosted_by, use_host
from wan_director.nodes.queueing.upstream import job_before

CLASSES = {**CORE_NODES, **NODE_CLASS_MAPPINGS}
SUBMIT, FETCH = (NODE_CLASS_MAPPINGS[f"WanDirector{name}"] for name in ("Submit", "Fetch"))
FILE = {"fps": 8.0, "filename_prefix": "far/away", "format": "png frames", "quality": 80}


class Untouched(CORE_NODES["LoadImage"]):
    """A node of the job that must not run here."""

    @classmethod
    def execute(cls, **inputs):
        raise AssertionError("it runs elsewhere")


HERE = {**CLASSES, "LoadImage": Untouched}


@pytest.fixture
def served(tmp_path):
    folder = SharedFolder(tmp_path / "shared")
    tokens = folder.tokens()
    queue = JobQueue(folder.queue, Rules(span_s=60.0, pause_s=0.0))
    server = QueueServer(Desk(folder, queue, checker(CLASSES, {})), tokens, Address(port=0))
    with server.serving():
        yield folder, f"http://127.0.0.1:{server.port}", tokens
    queue.close()


@pytest.fixture
def here(tmp_path, served, monkeypatch):
    """A host with a picture and a sound, which knows the queue's token."""
    monkeypatch.setenv(TOKEN, served[2].asking)
    monkeypatch.delenv(URL, raising=False)
    monkeypatch.setattr("wan_director.nodes.queueing.addresses._POLL_S", 0.05)
    Image.new("RGB", (32, 16), (200, 40, 10)).save(tmp_path / "cat.png")
    with wave.open(str(tmp_path / "purr.wav"), "wb") as file:
        file.setnchannels(1), file.setsampwidth(2), file.setframerate(16_000)
        file.writeframes((8000 * np.sin(np.arange(16_000) / 5)).astype("<i2").tobytes())
    mine = HeadlessHost(inputs=(tmp_path,), output=tmp_path / "out", runtime=LocalRuntime("cpu"))
    with hosted_by(mine):
        yield mine


@pytest.fixture
def worker(served):
    """Makes the jobs, from another thread, with the host of its own."""
    earlier = host() if has_host() else None
    folder, address, tokens = served
    maker = GraphMaker(folder, {}, CLASSES, WorkerRuntime("cpu"), use_host)
    works = Worker("one", QueueClient(address, tokens.working), folder, maker)
    thread = threading.Thread(target=works.work, daemon=True)
    thread.start()
    yield works
    works.end()
    thread.join(20)
    if earlier is not None:
        use_host(earlier)


def graph(address: str, **changes) -> dict:
    return {
        "1": {"class_type": "LoadImage", "inputs": {"image": "cat.png"}},
        "2": {"class_type": "RepeatImageBatch", "inputs": {"image": ["1", 0], "amount": 3}},
        "3": {
            "class_type": "WanDirectorSubmit",
            "inputs": {"images": ["2", 0], "address": address, "title": "cats", "priority": 0, **FILE, **changes},
        },
    }


def run(prompt: dict) -> list[dict]:
    return run_graph(parse_graph(prompt, HERE), HERE)


def fetch(job_id: str, address: str, wait: bool = True):
    return FETCH.execute(job_id=job_id, address=address, wait=wait).args


def test_a_graph_is_made_elsewhere_and_comes_back_as_it_was(served, here, worker, tmp_path):
    (shown,) = run(graph(served[1]))
    (id,) = shown["text"]
    images, fps, audio = fetch(id, served[1])
    assert images.shape == (3, 16, 32, 3) and fps == 16.0 and audio is None
    assert torch.equal((images * 255).round(), torch.tensor([200.0, 40.0, 10.0]).expand_as(images))
    assert len(list((tmp_path / "out/queue" / id / "far").rglob("*.png"))) == 3
    job = QueueClient(served[1], served[2].asking).job(id)
    assert job["title"] == "cats" and job["state"] == "done"
    (kept,) = [file for file in (tmp_path / "shared/files").rglob("*") if file.is_file()]
    assert kept.read_bytes() == (tmp_path / "cat.png").read_bytes()


def test_a_video_comes_with_its_rate_and_its_sound_through_one_graph(served, here, worker, tmp_path):
    prompt = graph(served[1], format="mp4-h264", audio=["4", 0])
    prompt["4"] = {"class_type": "LoadAudio", "inputs": {"audio": "purr.wav"}}
    prompt["5"] = {"class_type": "WanDirectorFetch", "inputs": {"job_id": ["3", 0], "address": served[1], "wait": True}}
    prompt["6"] = {
        "class_type": "WanDirectorSaveVideo",
        "inputs": {"images": ["5", 0], "fps": ["5", 1], "audio": ["5", 2], "filename_prefix": "near",
                   "format": "mp4-h264", "quality": 80},
    }  # fmt: skip
    run(prompt)
    (near,) = (tmp_path / "out").glob("near*.mp4")
    (far,) = (tmp_path / "out/queue").rglob("*.mp4")
    assert here.files.probe(near).fps == here.files.probe(far).fps == 8.0
    assert here.files.sound(near, each=lambda: None) is not None


def test_a_job_without_result_is_told_in_a_sentence(served, here):
    (shown,) = run(graph(served[1]))
    (id,) = shown["text"]
    with pytest.raises(ClusterError, match=f"Job {id} is queued and has no result yet .it waits for a worker.. Switch"):
        fetch(id, served[1], wait=False)
    QueueClient(served[1], served[2].asking).change(id, "cancel")
    with pytest.raises(ClusterError, match=f"Job {id} is cancelled and has no result. Its page, or"):
        fetch(id, served[1])
    with pytest.raises(ClusterError):
        fetch("0" * 16, served[1])


def test_what_the_queue_refuses_comes_back_as_its_sentence(served, here, tmp_path):
    (tmp_path / "cat.png").write_bytes(b"no picture")
    with pytest.raises(WanDirectorError, match="LoadImage .* cannot be read as a picture"):
        run(graph(served[1]))


def test_waiting_can_be_cancelled(served, here):
    (shown,) = run(graph(served[1]))
    here.runtime.interrupted = True
    with pytest.raises(Interrupted):
        fetch(shown["text"][0], served[1])


def test_no_token_goes_to_an_address_that_is_not_known(served, here, tmp_path, monkeypatch):
    for address in ("http://10.9.8.7:8189", "http://example.org"):
        with pytest.raises(InvalidInputError, match=r"wants a token, and none is known here. Write a line"):
            fetch("0" * 16, address)
    with pytest.raises(InvalidInputError, match="is no address of a queue"):
        SUBMIT.validate_inputs(address="somewhere")
    monkeypatch.delenv(TOKEN)
    with pytest.raises(InvalidInputError, match="wants a token"):
        SUBMIT.validate_inputs(address=served[1])
    (here.own_folder()).mkdir(parents=True)
    (here.own_folder() / "queues.txt").write_text(f"# mine\nhttp://10.0.0.1:8189 x\n{served[1]}/ {served[2].asking}\n")
    assert SUBMIT.validate_inputs(address=served[1]) and len(run(graph(served[1]))) == 1
    monkeypatch.setenv(URL, served[1])
    assert FETCH.validate_inputs(address="", job_id="0123456789abcdef")
    with pytest.raises(InvalidInputError, match="A job is named by 16 digits"):
        FETCH.validate_inputs(address="", job_id="../../x")


def test_a_graph_that_a_queue_cannot_make_is_refused(served, here):
    fetching = {"class_type": "WanDirectorFetch", "inputs": {"job_id": "0" * 16, "address": "", "wait": True}}
    with pytest.raises(GraphError, match="asks a queue, and a job of a queue may not"):
        checker(CLASSES, {})({"7": fetching}, {})
    unknown = graph(served[1])
    unknown["2"]["class_type"] = "NodeOfAnotherPack"
    with pytest.raises(GraphError, match="NodeOfAnotherPack"):
        run(unknown)


def test_the_graph_goes_without_what_is_not_before_the_node(served, here):
    prompt = graph(served[1])
    prompt["8"] = {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}}
    job = job_before(prompt, "3")
    assert set(job) == {"1", "2", "3"} and job["3"]["class_type"] == "WanDirectorSaveVideo"
    assert job["3"]["inputs"] == {"images": ["2", 0], **FILE}
    with pytest.raises(GraphError, match="is not known"):
        job_before(prompt, "33")
