"""What `status` and `fetch` say in the terminal of jobs that are there, failed or not there."""

from __future__ import annotations

import pytest
from wan_director.__main__ import main
from wan_director.common.errors import ClusterError

from .test_server import LEASE, make, submitted


@pytest.fixture
def told(server, folder, tmp_path, capsys):
    """Gives what a command says, and its exit code."""

    def ask(*words: str) -> tuple[int, str, str]:
        there = ["--to", f"http://127.0.0.1:{server.port}", "--token-file", str(folder.path / "token")]
        code = main([*words, *there])
        said = capsys.readouterr()
        return code, said.out, said.err

    return ask


def test_status_counts_jobs_and_workers(told, client, working):
    assert told("status")[1] == "no jobs; 0 workers\n"
    job = submitted(client, title="Cat")
    working.ask("/worker/lease", LEASE)
    line, counts = told("status")[1].splitlines()
    assert line.startswith(f"{job['id']}  running  ") and line.endswith("  Cat") and counts == "1 running; 1 worker"


def test_a_job_that_is_not_there_is_named(told, client):
    code, out, error = told("status", "nope")
    assert (code, out) == (1, "")
    assert error.endswith("There is no job 'nope', or not any more. `wan-director status` lists the newest.\n")


def test_fetch_says_what_to_do_about_a_job_without_result(told, client, working, folder, tmp_path):
    job = submitted(client)
    into = ("--output", str(tmp_path / "videos"))
    assert told("fetch", job["id"], *into)[2].endswith("is queued and has no result. --wait waits for its end.\n")
    client.change(job["id"], "cancel")
    assert told("fetch", job["id"], *into)[2].endswith("has no result. `wan-director again` queues it anew.\n")
    assert told("again", job["id"])[0] == 0
    lease = working.ask("/worker/lease", LEASE)["job"]["lease"]
    working.ask(f"/worker/{job['id']}/end", {"lease": lease, "how": "failed", "error": "Width is 3."})
    assert told("fetch", job["id"], *into)[2].endswith("is failed and has no result: Width is 3.\n")
    assert told("again", job["id"])[0] == 0
    make(folder, working)
    path = tmp_path / "videos" / job["id"] / "video" / "a_00001_.mp4"
    assert told("fetch", job["id"], *into)[:2] == (0, f"{path}\n") and path.read_bytes() == b"video"


@pytest.mark.parametrize("limit", ["0", "-1", "501"])
def test_a_list_of_no_length_is_refused_and_not_another_one_given(told, client, limit):
    code, out, error = told("status", "--limit", limit)
    assert (code, out) == (1, "") and error.endswith(
        f"--limit is from 1 to 500 jobs, got {limit}. Write it like --limit 20.\n"
    )
    with pytest.raises(ClusterError, match="limit is a number|1 to 500 jobs are listed"):
        client.jobs(limit=int(limit))


ODD = {
    "status x --state done": "Jobs are shown by their ids or by --state. Leave one of them out.",
    "status --state lost": "There are no jobs that are 'lost'. Choose one of: queued, running, done, failed, aside, "
    "cancelled.",
    "submit tiny_t2v --gpus 0": "A job has 1 to 64 GPUs, got 0. Ask for as many as one machine has.",
    "submit tiny_t2v --priority 101": "priority is from -100 to 100, got 101.",
}


@pytest.mark.parametrize("words", ODD)
def test_odd_arguments_are_refused_in_a_sentence(told, words):
    code, out, error = told(*words.split())
    assert (code, out, error) == (1, "", f"wan-director: {ODD[words]}\n")


SERVING = {
    "serve q --stop": "--stop ends what runs in a Ray cluster",
    "serve q --workers -1": "--workers is 0 or more, got -1",
    "serve q --port 99999": "A port is from 0, any that is free, to 65535, got 99999",
    "serve q --span 0": "--span is 1 second or more, got 0",
    "serve q --span nan": "--span is 1 second or more, got nan",
    "serve q --tries 0": "--tries is 1 or more, got 0",
    "serve q --keep-days 0": "--keep-days is more than 0, got 0",
    "work q --only": "--only is for a worker of several GPUs, and this one has 1",
    "status --to http://127.0.0.1:many --token-file token": "'http://127.0.0.1:many' is no address of a queue",
}


@pytest.mark.parametrize("words", SERVING)
def test_what_no_queue_can_be_served_with_is_refused_before_anything_is_made(words, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "token").write_text("a")
    assert main(words.split()) == 1
    assert capsys.readouterr().err.startswith(f"wan-director: {SERVING[words]}")
    assert [each.name for each in tmp_path.iterdir()] == ["token"]


def test_a_result_that_cannot_be_written_is_no_server_that_is_away(told, client, working, folder, tmp_path):
    job = submitted(client)
    make(folder, working)
    (tmp_path / "videos").write_text("a file")
    code, out, error = told("fetch", job["id"], "--output", str(tmp_path / "videos"))
    assert (code, out) == (1, "") and f"{tmp_path / 'videos'} is no folder" in error
