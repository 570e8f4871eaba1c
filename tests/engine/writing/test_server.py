"""A language model behind an address: what it is asked, what is made of its answer, and whatever goes wrong."""

from __future__ import annotations

import base64
import json
import socket
import threading

import pytest
from wan_director.common.errors import InvalidInputError, WritingError
from wan_director.engine.local import Interrupted, LocalRuntime
from wan_director.engine.writing import server
from wan_director.engine.writing.asked import WritingTask
from wan_director.engine.writing.server import ServerWriter

from .chat_server import Chat, served

ASKED = WritingTask("Write well.", "a cat", None, seed=2**40 + 5, temperature=0.5, most_tokens=64)


def write(chat: Chat, asked: WritingTask = ASKED, model: str = "") -> str:
    with served(chat):
        return ServerWriter(chat.address, model).write(asked, LocalRuntime("cpu"))


def test_it_asks_by_the_interface_and_joins_the_pieces():
    chat = Chat()
    assert write(chat, model="qwen2.5:7b") == "A cat runs."
    ((path, body),) = chat.asked
    assert path == "/v1/chat/completions"
    assert body == {
        "model": "qwen2.5:7b", "temperature": 0.5, "seed": 5, "max_tokens": 64, "stream": True,
        "messages": [{"role": "system", "content": "Write well."}, {"role": "user", "content": "a cat"}],
    }  # fmt: skip


def test_a_server_that_does_not_stream_is_understood_and_no_model_is_named_unasked():
    chat = Chat(streams=False)
    assert write(chat) == "A cat runs." and "model" not in chat.asked[0][1]


def test_a_picture_goes_along_as_its_bytes():
    chat = Chat()
    write(chat, WritingTask("Write.", "a cat", b"\x89PNG picture"))
    text, image = chat.asked[0][1]["messages"][1]["content"]
    assert text == {"type": "text", "text": "a cat"}
    kind, _, data = image["image_url"]["url"].partition(",")
    assert (kind, base64.b64decode(data)) == ("data:image/png;base64", b"\x89PNG picture")


def said(body: object) -> bytes:
    return json.dumps(body).encode()


FAILURES = {
    "a key": (Chat(status=401, body=b"{}"), "refused with 401: {}. It wants a key"),
    "no such model": (
        Chat(status=404, body=said({"error": {"message": "model 'x' not found."}})),
        "refused with 404: model 'x' not found. Check the address",
    ),
    "busy": (Chat(status=429, body=b""), "refused with 429: no reason given. It is busy"),
    "its own fault": (Chat(status=500, body=b"out of\nmemory \x1b[31m"), "refused with 500: out of memory"),
    "a page": (Chat(body=b"<html><body>hello</body></html>\n", content_type="text/html"), "something else than a chat"),
    "garbage": (Chat(body=b"data: {not json\n\n"), "something else than a chat"),
    "another JSON": (Chat(body=b'data: {"a": 1}\n\n'), "something else than a chat"),
    "a list": (Chat(body=b"data: [1]\n\n"), "something else than a chat"),
    "an error in the stream": (Chat(body=b'data: {"error": {"message": "overloaded"}}\n\n'), "error: overloaded"),
    "a redirect": (Chat(status=302, body=b""), "refused with 302"),
    "deep": (Chat(body=b"data: " + b"[" * 100_000 + b"\n\n"), "something else than a chat"),
}


@pytest.mark.parametrize("case", FAILURES)
def test_what_goes_wrong_is_one_sentence(case):
    chat, words = FAILURES[case]
    chat.asked.clear()
    with pytest.raises(WritingError) as refused:
        write(chat)
    assert words in str(refused.value) and "\n" not in str(refused.value) and "\x1b" not in str(refused.value)
    assert len(str(refused.value)) < 600


@pytest.mark.parametrize("content_type", ["text/event-stream", "application/json"])
def test_a_huge_answer_is_not_read_to_its_end(content_type, monkeypatch):
    monkeypatch.setattr(server, "MAX_ANSWER_BYTES", 5000)
    with pytest.raises(WritingError, match="sent more than 5,000 bytes"):
        write(Chat(body=b"x" * 1_000_000, content_type=content_type))


def test_a_server_that_falls_silent_is_left(monkeypatch):
    monkeypatch.setattr(server, "SILENCE_S", 0.2)
    with pytest.raises(WritingError, match="sent nothing for 0 seconds"):
        write(Chat(waits_s=2.0))


def test_a_slow_answer_can_be_stopped_before_its_first_word():
    runtime = LocalRuntime("cpu")
    with served(Chat(waits_s=30.0)) as chat:
        threading.Timer(0.3, setattr, (runtime, "interrupted", True)).start()
        with pytest.raises(Interrupted):
            ServerWriter(chat.address).write(ASKED, runtime)


def test_nobody_at_the_address():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = (
        "No language model answers at .* Start its server, such as Ollama .* or choose a model's folder in models/LLM"
    )
    with pytest.raises(WritingError, match=words):
        ServerWriter(f"http://127.0.0.1:{port}/v1").write(ASKED, LocalRuntime("cpu"))


def test_a_connection_that_breaks_off_is_told():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()

        def hang_up() -> None:
            connection, _ = listening.accept()
            connection.recv(10)
            connection.close()

        threading.Thread(target=hang_up, daemon=True).start()
        with pytest.raises(WritingError, match="broke off its answer"):
            ServerWriter(f"http://127.0.0.1:{listening.getsockname()[1]}").write(ASKED, LocalRuntime("cpu"))


@pytest.mark.parametrize("number", ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946", "0.0.0.0", "169.254.7.7"])
def test_nothing_is_sent_beyond_the_own_network(number, monkeypatch):
    entry = (socket.AF_INET, socket.SOCK_STREAM, 6, "", (number, 80))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_options: [entry])
    monkeypatch.setattr(socket, "create_connection", lambda *_args, **_options: pytest.fail("it was connected to"))
    with pytest.raises(WritingError, match="is not in your own network"):
        ServerWriter("http://api.example.com/v1").write(ASKED, LocalRuntime("cpu"))


@pytest.mark.parametrize("number", ["127.0.0.1", "192.168.1.7", "10.0.0.2", "::1", "fe80::1", "::ffff:192.168.0.1"])
def test_the_own_network_is_known(number):
    assert server._is_own(number)


WRONG = ["", "127.0.0.1:11434", "ftp://127.0.0.1", "http://", "http://user:word@127.0.0.1", "http://127.0.0.1/v1?a=1",
         "http://127.0.0.1:99999/v1", "file:///etc/passwd", "http://127.0.0.1/\nHost: a"]  # fmt: skip


@pytest.mark.parametrize("address", WRONG)
def test_what_is_no_address_is_refused_before_anything_is_asked(address):
    with pytest.raises(InvalidInputError, match="is no address of a language model"):
        ServerWriter(address)
