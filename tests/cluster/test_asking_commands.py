"""What `status` and `fetch` say in the terminal of jobs that are there, failed or not there."""

from __future__ import annotations

import pytest
from wan_director.__main__ import main

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
