"""The queue by itself: its states, whatever happens in whatever order."""

from __future__ import annotations

import json
import shutil
import sqlite3
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule
from wan_director.cluster.jobs import ENDED, STATES, Request, ResultFile, Seats
from wan_director.cluster.queue import JobQueue, Rules
from wan_director.common.errors import InvalidInputError, OutputError

RULES = Rules(span_s=10.0, tries=3, pause_s=4.0, patience_s=100.0)
RESULT = ResultFile("video/a_00001_.mp4", 3, "ab" * 32)


class Clock:
    """Stands still until it is told."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue(tmp_path: Path, clock: Clock):
    made = JobQueue(tmp_path / "queue.sqlite", RULES, clock)
    yield made
    made.close()


def request(key: str, model: str = "", priority: int = 0, seat: int = 1) -> Request:
    prompt = {"1": {"class_type": "A", "inputs": {"text": key}}}
    return Request(key, prompt, model=model, priority=priority, gpus=seat, seat=seat)


def test_a_job_goes_from_queued_to_done(queue, clock):
    job = queue.submit(Request("a", {"1": {}}, {"nodes": []}, {"cat.png": "00"}, "A cat", "m", 3))
    assert (job.state, job.title, job.priority, job.submitted_s) == ("queued", "A cat", 3, 1000.0)
    leased = queue.lease("w")
    assert leased is not None and leased.id == job.id
    assert (leased.prompt, leased.workflow, leased.files) == ({"1": {}}, {"nodes": []}, {"cat.png": "00"})
    assert queue.beat(job.id, leased.lease, 4, "step 4 of 20")
    assert (queue.job(job.id).said, queue.job(job.id).reached, queue.job(job.id).worker) == ("step 4 of 20", 4, "w")
    clock.now_s += 5
    assert queue.done(job.id, leased.lease, [RESULT])
    ended = queue.job(job.id)
    assert (ended.state, ended.results, ended.ended_s, ended.attempts) == ("done", (RESULT,), 1005.0, 1)
    assert queue.lease("w") is None and not queue.beat(job.id, leased.lease, 5, "")


def test_a_request_that_comes_twice_is_one_job(queue):
    assert queue.submit(request("a")).id == queue.submit(request("a")).id
    assert queue.counts()["queued"] == 1


def test_higher_priorities_come_first_and_then_older_jobs(queue):
    ids = [queue.submit(request(str(index), priority=priority)).id for index, priority in enumerate([0, 5, -1, 5])]
    assert [queue.lease(f"w{each}").id for each in range(4)] == [ids[1], ids[3], ids[0], ids[2]]


def test_a_worker_takes_jobs_of_its_model_first_but_none_waits_too_long(queue, clock):
    first, second, third = (queue.submit(request(str(each), model)).id for each, model in enumerate("aba"))
    urgent = queue.submit(request("u", "c", priority=1)).id
    assert queue.lease("1", warm="b").id == urgent
    assert queue.lease("2", warm="b").id == second
    late = queue.submit(request("late", "b")).id
    clock.now_s += RULES.patience_s + 1
    assert queue.lease("3", warm="b").id == first
    assert {queue.lease("4").id, queue.lease("5").id} == {third, late}


def test_a_silent_worker_loses_its_job_to_another(queue, clock):
    job = queue.submit(request("a"))
    old = queue.lease("w")
    clock.now_s += RULES.span_s - 1
    assert queue.expire() == 0
    queue.beat(job.id, old.lease, 2, "")
    clock.now_s += RULES.span_s
    assert queue.expire() == 1 and queue.job(job.id).state == "queued" and queue.lease("other") is None
    clock.now_s += RULES.pause_s
    new = queue.lease("other")
    assert new.id == job.id and queue.job(job.id).attempts == 2
    assert not queue.beat(job.id, old.lease, 9, "") and queue.beat(job.id, new.lease, 3, "")
    assert not queue.failed(job.id, old.lease, "no") and not queue.lost(job.id, old.lease, "no")
    assert queue.done(job.id, old.lease, [RESULT]), "its result is that of the other"
    assert queue.done(job.id, new.lease, [RESULT]) and queue.job(job.id).results == (RESULT,)


def test_a_worker_that_begins_anew_has_lost_what_it_had(queue, clock):
    job = queue.submit(request("a"))
    queue.lease("w")
    assert queue.lease("w") is None and queue.job(job.id).strikes == 1
    clock.now_s += RULES.pause_s
    assert queue.lease("w").id == job.id


def lose(queue: JobQueue, clock: Clock, reached: int) -> str:
    clock.now_s += 1000
    leased = queue.lease("w")
    queue.beat(leased.id, leased.lease, reached, "")
    queue.lost(leased.id, leased.lease, "it ran out of memory")
    return queue.job(leased.id).state


def test_a_job_that_takes_its_workers_with_it_is_set_aside(queue, clock):
    job = queue.submit(request("a"))
    assert [lose(queue, clock, 0) for _ in range(3)] == ["queued", "queued", "aside"]
    assert "3 workers in a row" in queue.job(job.id).error and "out of memory" in queue.job(job.id).error
    clock.now_s += 1000
    assert queue.lease("w") is None
    assert queue.again(job.id).state == "queued" and queue.lease("w").id == job.id


def test_a_job_that_gets_further_each_time_is_not_to_blame(queue, clock):
    queue.submit(request("a"))
    assert [lose(queue, clock, reached) for reached in range(1, 9)] == ["queued"] * 8
    assert [lose(queue, clock, 8) for _ in range(2)] == ["queued", "aside"]


def test_a_job_that_is_given_back_has_no_strike(queue):
    job = queue.submit(request("a"))
    for _ in range(5):
        leased = queue.lease("w")
        assert queue.released(job.id, leased.lease)
    assert (queue.job(job.id).strikes, queue.job(job.id).attempts) == (0, 5)


def test_a_cancelled_job_stops_its_worker_and_has_no_result(queue):
    job = queue.submit(request("a"))
    leased = queue.lease("w")
    assert queue.cancel(job.id).state == "cancelled"
    assert not queue.beat(job.id, leased.lease, 1, "") and not queue.done(job.id, leased.lease, [RESULT])
    assert queue.job(job.id).results == ()
    with pytest.raises(InvalidInputError, match="The job is queued"):
        queue.again(queue.submit(request("b")).id)


def test_a_refused_graph_is_not_tried_again(queue):
    job = queue.submit(request("a"))
    leased = queue.lease("w")
    assert queue.failed(job.id, leased.lease, "Width is 3.") and queue.job(job.id).error == "Width is 3."
    assert queue.lease("w") is None


def test_old_jobs_are_forgotten_with_what_they_needed(queue, clock):
    old = queue.submit(Request("a", {}, None, {"cat.png": "00"}))
    queue.cancel(old.id)
    clock.now_s += 100
    kept = queue.submit(Request("b", {}, None, {"cat.png": "11"}))
    assert queue.uses("00") and queue.forget(clock.now_s) == [old.id]
    assert not queue.uses("00") and queue.uses("11") and queue.jobs() == [kept]
    with pytest.raises(InvalidInputError, match=f"There is no job '{old.id}', or not any more"):
        queue.job(old.id)


def test_jobs_are_listed_in_pages_the_newest_first(queue):
    ids = [queue.submit(request(str(each))).id for each in range(5)][::-1]
    assert [job.id for job in queue.jobs(limit=2)] == ids[:2]
    assert [job.id for job in queue.jobs(limit=9, before=ids[1])] == ids[2:]
    queue.cancel(ids[3])
    assert [job.id for job in queue.jobs("cancelled")] == [ids[3]]


def test_a_worker_takes_jobs_that_need_no_more_gpus_than_it_has(queue):
    large, first, second = (queue.submit(request(f"{each}", seat=seat)).id for each, seat in enumerate([4, 1, 2]))
    assert queue.lease("one").id == first and queue.lease("other") is None
    taken = queue.lease("four", seats=Seats(4))
    assert (taken.id, taken.gpus, queue.job(large).seat) == (large, 4, 4)
    assert queue.lease("two", seats=Seats(2)).id == second


def test_a_worker_for_large_jobs_takes_no_others_and_gives_way_to_those_that_wait_too_long(queue, clock):
    kept = Seats(2, is_kept=True)
    small = queue.submit(request("small", "a")).id
    large, same = (queue.submit(request(key, model, seat=2)).id for key, model in [("b", "b"), ("c", "c")])
    assert queue.lease("w", "c", kept).id == same, "of its model first"
    clock.now_s += RULES.patience_s + 1
    assert queue.lease("v", "b", kept) is None, "another has waited for too long"
    assert queue.lease("one").id == small and queue.lease("v", "b", kept).id == large
    queue.submit(request("later", seat=2))
    queue.submit(request("urgent", priority=1))
    assert queue.lease("v", "", kept) is None, "nor before those of a higher priority"


def test_whose_turn_it_is_goes_by_priority_and_age(queue):
    assert queue.front(8) == 0 and queue.awaited() == []
    for key, seat, priority in [("a", 1, 0), ("b", 4, 1), ("c", 8, 2)]:
        queue.submit(request(key, priority=priority, seat=seat))
    assert [queue.front(most) for most in (8, 4, 1)] == [8, 4, 1] and queue.awaited() == [1, 4, 8]
    queue.lease("w", seats=Seats(8))
    assert queue.front(8) == 4 and queue.awaited() == [1, 4]


def test_a_list_of_jobs_of_the_form_before_is_taken_over(queue, tmp_path):
    job = queue.submit(request("a", "m"))
    queue.close()
    database = sqlite3.connect(queue.path)
    database.executescript(
        "DROP INDEX waiting; DROP INDEX waiting_for_model; ALTER TABLE jobs DROP COLUMN seat; PRAGMA user_version = 1;"
        "CREATE INDEX waiting ON jobs (priority DESC, number) WHERE state = 'queued';"
        "CREATE INDEX waiting_for_model ON jobs (model, priority DESC, number) WHERE state = 'queued';"
    )
    database.execute("UPDATE requests SET content = ?", (json.dumps([{"1": {}}, None, {}]),))
    database.commit()
    database.close()
    opened = JobQueue(queue.path, RULES)
    assert opened.job(job.id) == job
    leased = opened.lease("w", "m")
    assert (leased.id, leased.prompt, leased.gpus) == (job.id, {"1": {}}, 1)
    opened.close()


def test_a_queue_has_one_server(queue):
    with pytest.raises(OutputError, match="served already"):
        JobQueue(queue.path)


def test_a_file_that_is_no_queue_is_refused(tmp_path):
    path = tmp_path / "queue.sqlite"
    path.write_bytes(b"no database " * 100)
    with pytest.raises(OutputError, match="cannot be used"):
        JobQueue(path)


class AnyOrder(RuleBasedStateMachine):
    """Workers come, stall and go, the server is killed, people cancel: no job is lost, and none is made twice."""

    jobs, leases = Bundle("jobs"), Bundle("leases")

    def __init__(self) -> None:
        super().__init__()
        self.folder, self.clock = Path(tempfile.mkdtemp()), Clock()
        self.queue = self.opened()
        self.ended: dict[str, str] = {}
        self.known: set[str] = set()

    def opened(self) -> JobQueue:
        return JobQueue(self.folder / "queue.sqlite", RULES, self.clock)

    def teardown(self) -> None:
        self.finish_all()
        self.queue.close()
        shutil.rmtree(self.folder)

    @rule(
        target=jobs, key=st.integers(0, 30), model=st.sampled_from("ab"), priority=st.integers(-1, 1),
        seat=st.sampled_from([1, 1, 2, 4]),
    )  # fmt: skip
    def submit(self, key: int, model: str, priority: int, seat: int) -> str:
        id = self.queue.submit(request(str(key), model, priority, seat)).id
        self.known.add(id)
        return id

    @rule(
        target=leases, worker=st.sampled_from("vwxyz"), warm=st.sampled_from(["", "a", "b"]),
        gpus=st.sampled_from([1, 1, 2, 4]), is_kept=st.booleans(),
    )  # fmt: skip
    def lease(self, worker: str, warm: str, gpus: int, is_kept: bool):
        leased = self.queue.lease(worker, warm, Seats(gpus, is_kept))
        if leased is None:
            return multiple()
        job = self.queue.job(leased.id)
        assert job.worker == worker and leased.id not in self.ended and leased.gpus == job.seat
        assert job.seat == gpus if is_kept else job.seat <= gpus
        return leased

    @rule(leased=leases, reached=st.integers(0, 9))
    def beat(self, leased, reached: int) -> None:
        is_held = self.queue.beat(leased.id, leased.lease, reached, "")
        assert not is_held or self.queue.job(leased.id).state == "running"

    @rule(leased=consumes(leases), how=st.sampled_from(["done", "failed", "lost", "released"]))
    def end(self, leased, how: str) -> None:
        if how == "done":
            self.queue.done(leased.id, leased.lease, [RESULT])
        elif how == "released":
            self.queue.released(leased.id, leased.lease)
        else:
            getattr(self.queue, how)(leased.id, leased.lease, "why")

    @rule(id=jobs)
    def cancel(self, id: str) -> None:
        self.queue.cancel(id)

    @rule(seconds=st.floats(0.5, 40))
    def wait(self, seconds: float) -> None:
        self.clock.now_s += seconds
        self.queue.expire()

    @rule()
    def kill_the_server(self) -> None:
        self.queue.close()
        self.queue = self.opened()

    @invariant()
    def every_job_is_in_one_state_and_stays_where_it_ended(self) -> None:
        found = {job.id: job for job in self.queue.jobs(limit=1000)}
        assert set(found) == self.known
        counts = self.queue.counts()
        assert counts == {state: sum(job.state == state for job in found.values()) for state in STATES}
        assert {id for _, id in self.queue.running()} == {id for id, job in found.items() if job.state == "running"}
        workers = [worker for worker, _ in self.queue.running()]
        assert len(workers) == len(set(workers)), "a worker has one job"
        assert all(found[id].state == state for id, state in self.ended.items())
        assert all((job.results == (RESULT,)) == (job.state == "done") for job in found.values())
        self.ended = {id: job.state for id, job in found.items() if job.state in ENDED}

    def finish_all(self) -> None:
        """Whatever has happened: workers that do their work come to the end of all jobs."""
        self.clock.now_s += 1000
        self.queue.expire()
        self.clock.now_s += 1000
        while (leased := self.queue.lease("last", seats=Seats(4))) is not None:
            assert self.queue.done(leased.id, leased.lease, [RESULT])
        assert all(job.state in ENDED for job in self.queue.jobs(limit=1000))


AnyOrder.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestAnyOrder = AnyOrder.TestCase
