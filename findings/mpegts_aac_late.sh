#!/usr/bin/env bash
# FFmpeg 9.0.2 (imageio-ffmpeg 0.8.1): AAC that is heard at the right time in mp4 is 23 ms late in mpegts, copied or not.
#
# A good guess: a container changes nothing about when a sound is heard, least of all where the stream is copied bit by
# bit. But AAC begins with 1,024 samples that belong to nothing, the encoder's delay. mp4 says so in an edit list, and
# readers leave them out; mpegts has no place to say it, so they are heard: 1,024 / 44,100 s of silence before all else.
#
# Exits with 1 when this changes.
#!/usr/bin/env bash
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check imageio-ffmpeg==0.8.1 numpy==2.4.1
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import subprocess
import sys
from importlib.metadata import version

import imageio_ffmpeg
import numpy as np

folder, exe, rate = sys.argv[1], imageio_ffmpeg.get_ffmpeg_exe(), 44100
print("imageio-ffmpeg", version("imageio-ffmpeg"), "FFmpeg", imageio_ffmpeg.get_ffmpeg_version())
time = np.arange(2 * rate) / rate
tone = np.where(time >= 1.0, 0.5 * np.sin(2 * np.pi * 1000 * time), 0.0).astype(np.float32)


def run(*arguments, feed=None):
    return subprocess.run([exe, "-v", "error", *arguments], input=feed, capture_output=True, check=True).stdout


def onset(path):
    heard = np.frombuffer(run("-i", path, "-f", "f32le", "-ac", "1", "-ar", str(rate), "-"), np.float32)
    return float(np.argmax(np.abs(heard) > 0.1)) / rate


mp4, ts = f"{folder}/tone.mp4", f"{folder}/tone.ts"
run("-f", "f32le", "-ar", str(rate), "-ac", "1", "-i", "-", "-c:a", "aac", "-b:a", "192k", mp4, feed=tone.tobytes())
run("-i", mp4, "-c", "copy", ts)
direct = f"{folder}/direct.ts"
run("-f", "f32le", "-ar", str(rate), "-ac", "1", "-i", "-", "-c:a", "aac", "-b:a", "192k", direct, feed=tone.tobytes())
print(f"heard at: mp4 {onset(mp4):.4f} s, the same stream copied to mpegts {onset(ts):.4f} s, encoded to mpegts {onset(direct):.4f} s")
in_mp4, late = abs(onset(mp4) - 1.0) < 0.003, abs(onset(direct) - 1.0 - 1024 / rate) < 0.003
sys.exit(0 if in_mp4 and late else "This has changed.")
PYTHON
