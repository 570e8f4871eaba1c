"""Captions: beside the video, with the trigger, and of a server that sees the clip."""

from __future__ import annotations

import base64
import io
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from PIL import Image
from wan_director.common.errors import InvalidInputError, WritingError
from wan_director.engine.local import LocalRuntime
from wan_director.tuning.preparation.captions import caption_beside, with_trigger, written_by
from wan_director.tuning.preparation.duplicates import originals


def test_the_text_beside_a_video_is_its_caption(tmp_path):
    video = tmp_path / "a.mp4"
    assert caption_beside(video) == ""
    (tmp_path / "a.txt").write_bytes("\ufeffa cat\r\n  runs ".encode())
    assert caption_beside(video) == "a cat runs"
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidInputError, match="no text in UTF-8"):
        caption_beside(video)
    (tmp_path / "a.txt").write_bytes(b"a" * 30_000)
    with pytest.raises(InvalidInputError, match="30,000 bytes"):
        caption_beside(video)


def test_the_trigger_stands_in_front_once():
    assert with_trigger("", "a cat") == "a cat" and with_trigger("sks", "") == "sks"
    assert with_trigger("sks", with_trigger("sks", "a cat")) == "sks, a cat"


def test_a_server_is_shown_the_frames_and_told_of_the_camera():
    asked = []

    class Server(BaseHTTPRequestHandler):
        def do_POST(self):  # noqa: N802  (the library's name)
            asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            body = json.dumps({"choices": [{"message": {"content": "A red wall.\n It passes by."}}]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            """Quiet."""

    server = HTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    file = io.BytesIO()
    Image.new("RGB", (96, 32), "red").save(file, "JPEG")
    address = f"http://127.0.0.1:{server.server_port}/v1"
    caption = written_by(address, "seer", LocalRuntime("cpu"))
    try:
        assert caption(base64.b64encode(file.getvalue()).decode(), "pan left") == "A red wall. It passes by."
    finally:
        server.shutdown()
        server.server_close()
    words, picture = asked[0]["messages"][1]["content"]
    assert asked[0]["model"] == "seer" and "The camera does this: pan left." in words["text"]
    seen = Image.open(io.BytesIO(base64.b64decode(picture["image_url"]["url"].split(",")[1])))
    assert seen.size == (96, 32) and seen.getpixel((50, 10))[0] > 240
    with pytest.raises(WritingError, match="No language model answers"):
        caption(base64.b64encode(file.getvalue()).decode(), "still")


def test_of_clips_alike_the_largest_is_kept_and_then_the_first():
    same, near, far = (5, 9), (5 ^ 0b1011, 9), (5 ^ 0b1011_1100_0011_1111_1111, 9)
    assert originals([same, near, far, same], [10, 10, 10, 10]) == [None, 0, None, 0]
    assert originals([same, near, far, same], [10, 20, 10, 10]) == [1, None, None, 1]
    assert originals([(1, 2**64 - 1)], [1]) == [None] and originals([], []) == []
    one_frame_differs = [(7, 7), (7, 7 ^ 0b1111_1111_1111_1000)]
    assert originals(one_frame_differs, [1, 1]) == [None, None]
