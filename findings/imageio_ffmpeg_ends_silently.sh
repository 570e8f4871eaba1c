#!/usr/bin/env bash
# imageio-ffmpeg 0.8.1: an encoder that fails is not reported when few frames were sent.
#
# A good guess: `write_frames` raises when ffmpeg fails, since it documents an IOError with ffmpeg's error output.
# Why that is wrong: the exception comes only from a write into a pipe that is already broken. A frame that fits into
# the pipe is taken before ffmpeg has ended, and `close()` looks at no exit code: nothing is raised, and no file is
# there. Where the exception does come, its part "FFMPEG STDERR OUTPUT" is empty, for ffmpeg's output is not captured.
# So whoever writes videos with it must count the frames of the file, and cannot know why they are missing.
#
# Exits non-zero when the behaviour changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet imageio-ffmpeg==0.8.1
cd "$folder"
venv/bin/python - <<'PYTHON'
import os
import time

import imageio_ffmpeg

print("imageio-ffmpeg", imageio_ffmpeg.__version__, "with FFmpeg", imageio_ffmpeg.get_ffmpeg_version())

# An encoder that FFmpeg has on macOS only; the same happens on a full disk.
codec = "h264_videotoolbox"


def send(frames, pause_s):
    writer = imageio_ffmpeg.write_frames("clip.mp4", (64, 64), fps=8, codec=codec, ffmpeg_log_level="quiet")
    writer.send(None)
    for _ in range(frames):
        writer.send(bytes(64 * 64 * 3))
        time.sleep(pause_s)
    writer.close()


send(frames=1, pause_s=0)
print("one frame: nothing raised; file there:", os.path.exists("clip.mp4"))
assert not os.path.exists("clip.mp4"), "the encoder is there: run this on another system than macOS"

try:
    send(frames=3, pause_s=2)
except OSError as error:
    said = str(error).split("FFMPEG STDERR OUTPUT:")[1].strip()
    print("three frames, slowly: OSError, whose error output is", repr(said))
    assert said == "", "the error output is captured now"
else:
    raise SystemExit("nothing was raised for frames sent to an ended encoder")
PYTHON
