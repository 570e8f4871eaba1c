"""What processes that share runs say to each other, and what a pipe that ends in the middle of it comes to."""

from __future__ import annotations

import io
import queue

import pytest
from wan_director.engine.sharing.listening import listen
from wan_director.engine.sharing.messages import Ended, RunRequest, read, write


def said(*messages: object) -> bytes:
    pipe = io.BytesIO()
    for message in messages:
        write(message, pipe)
    return pipe.getvalue()


def test_messages_come_as_they_were_said():
    ask, ended = RunRequest(3, b"data", frozenset({("a", 1)})), Ended(3, "why")
    pipe = io.BytesIO(said(ask, ended))
    assert (read(pipe), read(pipe), read(pipe)) == (ask, ended, None)


@pytest.mark.parametrize("left", [1, 7, 8, 9, 40])
def test_a_message_of_which_a_part_came_is_the_end(left):
    heard: queue.Queue = queue.Queue()
    listen(io.BytesIO(said(Ended(1)) + said(Ended(2))[:left]), heard.put)
    assert [heard.get(timeout=20), heard.get(timeout=20)] == [Ended(1), None]
