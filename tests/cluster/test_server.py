"""The queue's server: what it does for whoever may ask, and what it refuses all others."""

from __future__ import annotations

import http.client
import json
import os
import pickle
import socket
import stat
import threading
import time
from pathlib import Path

import pytest
from wan_director.cluster.client import Gone, QueueClient, Unreachable
from wan_director.cluster.jobs import Seats
from wan_director.cluster.server import MOST_JSON_BYTES, Address, QueueServer
from wan_director.cluster.worker import Worker
from wan_director.common.errors import ClusterError, InvalidInputError, OutOfMemory, OutputError, SharingError

from .conftest import GRAPH, KEY

LEASE = {"worker": "w", "warm": "", "wait_s": 0}


def submitted(client: QueueClient, key: str = KEY, **more) -> dict:
    return client.submit({"key": key, "prompt": GRAPH, **more}, {})


def ask(server: QueueServer, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, str]:
    """A question as it comes over the wire; `headers` in place of the usual ones, where "" leaves one out."""
    usual = {"Authorization": f"Bearer {server.tokens.asking}", "Content-Type": "application/json"}
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request(method, path, body, {name: value for name, value in {**usual, **given}.items() if value})
    answer = connection.getresponse()
    said = answer.read().decode()
    connection.close()
    return answer.status, said


def make(folder, working: QueueClient, content: bytes = b"video") -> dict:
    """A worker takes a job and makes it."""
    job = working.ask("/worker/lease", LEASE)["job"]
    with folder.unfinished() as part:
        (part / "video").mkdir()
        (part / "video" / "a_00001_.mp4").write_bytes(content)
        results = [list(each) for each in folder.publish(job["id"], part)]
    said = {"lease": job["lease"], "how": "done", "results": results}
    assert working.ask(f"/worker/{job['id']}/end", said)["counts"]
    return job


def test_a_job_is_submitted_made_and_fetched(client, working, folder, tmp_path):
    picture = tmp_path / "cat.png"
    picture.write_bytes(b"a picture")
    job = client.submit({"key": KEY, "prompt": GRAPH, "title": "Cat", "priority": 5}, {"cat.png": picture})
    assert (job["state"], job["model"], job["priority"]) == ("queued", "draw", 5)
    (path,) = folder.inputs(working.ask("/worker/lease", LEASE)["job"]["files"]).values()
    assert path.read_bytes() == b"a picture"
    made = make(folder, working, b"video 1")
    assert made["id"] == job["id"], "the worker asked anew, so its process had ended"
    done = client.job(job["id"])
    (found,) = [client.fetch(job["id"], result, tmp_path / "out") for result in done["results"]]
    assert found == tmp_path / "out" / "video" / "a_00001_.mp4" and found.read_bytes() == b"video 1"
    assert client.jobs()["counts"]["done"] == 1 and client.jobs()["workers"] == [{"name": "w", "job": ""}]


def test_a_request_sent_twice_is_one_job_and_a_file_is_sent_once(client, server, tmp_path):
    picture = tmp_path / "cat.png"
    picture.write_bytes(b"a picture")
    first, second = (client.submit({"key": KEY, "prompt": GRAPH}, {"cat.png": picture}) for _ in range(2))
    assert first["id"] == second["id"] and client.jobs()["counts"]["queued"] == 1


def test_a_worker_waits_for_a_job_and_has_it_at_once(client, working):
    taken = []
    asked = {**LEASE, "wait_s": 20}
    thread = threading.Thread(
        target=lambda: taken.append((working.ask("/worker/lease", asked)["job"], time.monotonic()))
    )
    thread.start()
    time.sleep(0.3)
    begun = time.monotonic()
    job = submitted(client)
    thread.join(10)
    assert taken[0][0]["id"] == job["id"] and taken[0][1] - begun < 0.5


def test_a_job_that_no_machine_can_make_is_refused_when_it_is_submitted(client, working):
    assert submitted(client, gpus=4)["seat"] == 4, "nobody is known yet, and one may come"
    working.ask("/worker/lease", LEASE)
    with pytest.raises(ClusterError, match="wants 2 GPUs of one machine, and the largest machine .* has 1. Ask for 1"):
        submitted(client, "other-key", gpus=2)
    working.ask("/worker/lease", {**LEASE, "worker": "v", "gpus": 2})
    assert submitted(client, "other-key", gpus=2)["seat"] == 2
    said = [(job["seat"], job["said"]) for job in client.jobs()["jobs"]]
    assert said == [(2, ""), (4, "Waits for a machine with 4 GPUs")]
    working.ask("/worker/places", {"largest": 8, "leaving": []})
    assert submitted(client, "third-key", gpus=8)["seat"] == 8
    for gpus in (0, -1, 65, 1.5, True, "2"):
        with pytest.raises(ClusterError, match="A job has 1 to 64 GPUs|gpus is a whole number"):
            submitted(client, "fourth-key", gpus=gpus)


def test_a_worker_that_is_to_leave_is_given_no_more(client, working):
    taken = working.ask("/worker/lease", {**LEASE, "worker": "v"})["job"]
    job = submitted(client)
    said = working.ask("/worker/places", {"largest": 2, "leaving": ["w"]})
    assert taken is None and said == {"busy": [], "front": 1, "awaited": [1]}
    assert working.ask("/worker/lease", LEASE)["job"] is None
    assert working.ask("/worker/lease", {**LEASE, "worker": "v"})["job"]["id"] == job["id"]
    submitted(client, "other-key", gpus=2)
    said = working.ask("/worker/places", {"largest": 2, "leaving": []})
    assert said == {"busy": ["v"], "front": 2, "awaited": [2]}
    assert working.ask("/worker/lease", LEASE)["job"] is None, "it has one GPU"
    kept = working.ask("/worker/lease", {**LEASE, "gpus": 2, "is_kept": True})["job"]
    assert kept["gpus"] == 2


def test_no_job_is_handed_to_a_worker_that_has_gone(client, server, working):
    said = json.dumps({**LEASE, "worker": "gone", "wait_s": 20})
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        head = f"POST /worker/lease HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {server.tokens.working}\r\n"
        connection.sendall(
            f"{head}Content-Type: application/json\r\nContent-Length: {len(said)}\r\n\r\n{said}".encode()
        )
        time.sleep(0.3)
    time.sleep(0.1)
    job = submitted(client)
    time.sleep(1.2)
    assert client.job(job["id"])["attempts"] == 0
    assert working.ask("/worker/lease", LEASE)["job"]["id"] == job["id"]


def test_a_second_result_of_a_job_changes_nothing(client, working, folder, tmp_path):
    job = submitted(client)
    make(folder, working, b"first")
    with folder.unfinished() as part:
        (part / "other.mp4").write_bytes(b"second")
        (kept,) = folder.publish(job["id"], part)
    assert kept.name == "video/a_00001_.mp4" and not (folder.path / "results" / "other.mp4").exists()
    assert [each.name for each in (folder.path / "results").iterdir()] == [job["id"]]


def test_the_result_of_a_cancelled_job_is_removed(client, working, folder):
    submitted(client)
    job = working.ask("/worker/lease", LEASE)["job"]
    client.change(job["id"], "cancel")
    with folder.unfinished() as part:
        (part / "a.mp4").write_bytes(b"late")
        results = [list(each) for each in folder.publish(job["id"], part)]
    assert not working.ask(f"/worker/{job['id']}/beat", {"lease": job["lease"], "worker": "w"})["goes_on"]
    said = {"lease": job["lease"], "how": "done", "results": results}
    assert not working.ask(f"/worker/{job['id']}/end", said)["counts"] and not folder.results(job["id"]).exists()


@pytest.mark.parametrize("token", ["", "Bearer ", "Bearer wrong", "Basic YTpi", "Bearer \xff", "worker's"])
def test_without_the_token_nothing_is_answered(server, client, token):
    job = submitted(client)
    shown = f"Bearer {server.tokens.working}" if token == "worker's" else token
    asked = [
        ("GET", "/api/jobs", None), ("POST", "/api/jobs", json.dumps({"key": "other-key", "prompt": GRAPH}).encode()),
        ("PUT", f"/api/files/{'0' * 64}", b""), ("POST", f"/api/jobs/{job['id']}/cancel", b"{}"),
        ("GET", f"/api/jobs/{job['id']}", None), ("GET", "/anything", None),
    ]  # fmt: skip
    assert [ask(server, *each, Authorization=shown)[0] for each in asked] == [401] * len(asked)
    assert client.jobs()["counts"]["queued"] == 1


def test_whoever_asks_for_videos_gets_no_jobs_to_make(server):
    assert ask(server, "POST", "/worker/lease", json.dumps(LEASE).encode())[0] == 401


def test_tokens_are_for_the_folders_owner_alone(folder):
    tokens = folder.tokens()
    assert tokens == folder.tokens() and tokens.asking != tokens.working and len(tokens.asking) > 40
    if os.name != "nt":
        assert stat.S_IMODE((folder.path / "token").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "headers", [{"Host": "evil.example"}, {"Host": "evil.example:8189"}, {"Origin": "http://evil.example"},
                {"Origin": "null"}, {"Host": "127.0.0.1.evil.example"}]
)  # fmt: skip
def test_pages_of_others_are_refused_whatever_they_know(server, headers):
    assert ask(server, "GET", "/api/jobs", **headers)[0] in (400, 403)


def test_the_own_page_may_ask(server):
    assert ask(server, "GET", "/api/jobs", Origin=f"http://127.0.0.1:{server.port}")[0] == 200
    assert Address("10.0.0.5", names=("render1",)).knows("render1:8189") and not Address().knows("render1:8189")


class Bomb:
    """Makes a file where it is unpickled."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self):
        return Path.touch, (self.place,)


@pytest.mark.parametrize("kind", ["application/octet-stream", "application/python-pickle", "application/json", ""])
def test_a_client_that_pickles_is_refused_and_nothing_is_run(server, client, tmp_path, kind):
    content = pickle.dumps({"key": KEY, "prompt": Bomb(tmp_path / "boom")})
    assert ask(server, "POST", "/api/jobs", content, Content_Type=kind)[0] in (400, 415)
    assert not (tmp_path / "boom").exists() and client.jobs()["counts"]["queued"] == 0


def test_what_is_too_large_is_refused_before_it_is_read(server):
    begun = time.monotonic()
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        head = f"POST /api/jobs HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {server.tokens.asking}\r\n"
        connection.sendall(
            f"{head}Content-Type: application/json\r\nContent-Length: {MOST_JSON_BYTES + 1}\r\n\r\n".encode()
        )
        assert b" 413 " in connection.recv(100)
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize(
    "body", [b"[" * 100_000, b"[]", b"no json", b"\xff", b'{"prompt": NaN', b"{}", b'{"key": 5}',
             b'{"key": "0123456789", "prompt": []}', b'{"key": "0123456789", "prompt": {}, "priority": 1e400}',
             b'{"key": "0123456789", "prompt": {}, "files": {"a": 1}}']
)  # fmt: skip
def test_a_malformed_request_is_refused_in_a_sentence(server, client, body):
    status, said = ask(server, "POST", "/api/jobs", body)
    assert status in (400, 422) and json.loads(said)["error"].endswith(".")
    assert client.jobs()["counts"]["queued"] == 0


def test_a_refused_graph_is_not_queued(client):
    with pytest.raises(ClusterError, match="no such node"):
        client.submit({"key": KEY, "prompt": {"1": {"class_type": "Shell", "inputs": {}}}}, {})
    assert client.jobs()["counts"]["queued"] == 0


NAMES = ["../a", "/etc/passwd", "a/../../b", "..", "", "a//b", "C:\\a", "a\\..\\b", "a\0b", "a\nb", "x" * 300]


@pytest.mark.parametrize("name", NAMES)
def test_names_of_input_files_lead_nowhere_else(client, folder, tmp_path, name):
    file = tmp_path / "file"
    file.write_bytes(b"1")
    with pytest.raises(ClusterError, match="name of a file of a job"):
        client.submit({"key": KEY, "prompt": GRAPH}, {name: file})
    assert client.jobs()["counts"]["queued"] == 0


@pytest.mark.parametrize(
    "path", ["/../token", "/%2e%2e/token", "/page.js/../../token", "/api/jobs/../../token", "/api/files/..%2ftoken",
             "/api/jobs/..%2f..%2ftoken/preview", "//token", "/token"]
)  # fmt: skip
def test_addresses_lead_nowhere_else(server, folder, path):
    status, said = ask(server, "GET", path)
    assert status in (403, 404, 422) and server.tokens.asking not in said


def test_results_are_those_that_the_job_has(client, working, folder, server):
    job = submitted(client)
    make(folder, working)
    for name in ("../../token", "video/../../../token", "/etc/passwd", "video", ""):
        with pytest.raises(Gone, match="no result of this name"):
            client.fetch(job["id"], {"name": "x", "sha256": ""}, folder.path / "out")
        assert ask(server, "GET", f"/api/jobs/{job['id']}/result?name={name}")[0] == 404


@pytest.mark.parametrize("digest", ["0" * 64, "A" * 64, "..", "0" * 63, "%2e%2e%2f" + "0" * 61])
def test_a_file_that_is_not_what_its_digest_says_is_not_kept(server, folder, digest):
    assert ask(server, "PUT", f"/api/files/{digest}", b"other contents", Content_Type="")[0] == 422
    kept = (folder.path / "files").rglob("*") if (folder.path / "files").is_dir() else ()
    assert [each for each in kept if each.is_file()] == []


def test_a_client_follows_no_redirection_and_knows_who_is_away(server, client):
    with pytest.raises(Unreachable, match="does not answer"):
        QueueClient("http://127.0.0.1:9", "token").jobs()
    for url in ("ftp://127.0.0.1", "file:///etc/passwd", "127.0.0.1:8189"):
        with pytest.raises(InvalidInputError, match="no address of a queue"):
            QueueClient(url, "token")
    with pytest.raises(Gone, match="no job"):
        client.job("0" * 16)


def test_a_client_believes_no_name_of_a_result(client, tmp_path):
    with pytest.raises(InvalidInputError, match="name of a file of a job"):
        client.fetch("0" * 16, {"name": "../../evil", "sha256": ""}, tmp_path / "out")


def test_a_port_that_is_taken_is_named(server):
    with pytest.raises(OutputError, match=f"Port {server.port} of 127.0.0.1 cannot be served"):
        QueueServer(server.desk, server.tokens, Address(port=server.port))


def test_old_jobs_go_with_their_files(client, working, folder, server, tmp_path):
    picture = tmp_path / "cat.png"
    picture.write_bytes(b"a picture")
    job = client.submit({"key": KEY, "prompt": GRAPH}, {"cat.png": picture})
    make(folder, working)
    server.desk.keep_s = -1.0
    (kept,) = (folder.path / "files").rglob("??/*")
    os.utime(kept, (1, 1))
    assert server.desk.forget() == 1
    assert not folder.results(job["id"]).exists() and not kept.exists() and client.jobs()["jobs"] == []


@pytest.mark.parametrize("error", [SharingError("Gone."), OutOfMemory("Too large."), OSError("Full.")])
def test_what_may_go_better_another_time_is_tried_again(client, working, folder, error):
    class Failing:
        def make(self, job, output, report) -> None:
            worker.end()
            raise error

        def stop(self) -> None: ...

    job = submitted(client, gpus=2)
    worker = Worker("w", working, folder, Failing(), Seats(2, is_kept=True))
    worker.work()
    found = client.job(job["id"])
    assert (found["state"], found["strikes"], found["error"]) == ("queued", 1, str(error))
