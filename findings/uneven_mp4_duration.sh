#!/usr/bin/env bash
# FFmpeg 9.0.2 (imageio-ffmpeg 0.8.1) announces an uneven mp4 shorter than it is: 1.50 s for 2.00 s.
#
# A good guess is that "Duration" in ffmpeg's header, and so `duration` of imageio_ffmpeg.read_frames, is true to a
# hundredth of a second, and that frames / duration is a clip's rate. For an mp4 with uneven delays and B-frames it is
# not: the header counts from the first *decoding* time to the last one, which are not spread like the times of showing.
# The packets tell the truth: the last time plus its duration is 2.00 s. FFmpeg 4.2.2 (imageio-ffmpeg 0.4.9) is the
# other way round: its header says 2.00, but the durations of the packets that it copies are all those of the first.
#
# Exits with 1 when this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
for version in 0.8.1 0.4.9; do
    python3 -m venv "venv-$version"
    "venv-$version/bin/pip" install --quiet --disable-pip-version-check "imageio-ffmpeg==$version" setuptools
done
venv-0.8.1/bin/pip install --quiet --disable-pip-version-check pillow==12.0.0

venv-0.8.1/bin/python - <<'PYTHON'
import subprocess

import imageio_ffmpeg
from PIL import Image

shades = [Image.new("RGB", (32, 24), (50 * each,) * 3) for each in range(5)]
shades[0].save("uneven.gif", save_all=True, append_images=shades[1:], duration=[100, 500, 100, 1000, 300])
ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()
once = ["-fps_mode", "passthrough", "-c:v", "libx264", "-pix_fmt", "yuv420p"]
subprocess.run([ffmpeg, "-v", "error", "-i", "uneven.gif", *once, "uneven.mp4"], check=True)
PYTHON

cat > look.py <<'PYTHON'
import re
import subprocess

import imageio_ffmpeg

ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()
reader = imageio_ffmpeg.read_frames("uneven.mp4")
announced = next(reader)["duration"]
reader.close()
copied = subprocess.run([ffmpeg, "-v", "error", "-i", "uneven.mp4", "-c", "copy", "-f", "framecrc", "-"],
                        capture_output=True, text=True, check=True).stdout
unit = int(re.search(r"#tb 0: 1/(\d+)", copied)[1])
packets = sorted((int(pts), int(length)) for pts, length in re.findall(r"^0, *-?\d+, *(-?\d+), *(\d+)", copied, re.M))
end = sum(packets[-1]) / unit
print(f"imageio-ffmpeg {imageio_ffmpeg.__version__}, FFmpeg {imageio_ffmpeg.get_ffmpeg_version()}: "
      f"header {announced:.2f} s, packets end at {end:.2f} s; the GIF it was made from has 2.00 s")
print(f"RESULT {announced:.2f} {end:.2f}")
PYTHON

new=$(venv-0.8.1/bin/python look.py)
old=$(venv-0.4.9/bin/python look.py)
echo "$new"
echo "$old"
[[ $new == *"RESULT 1.50 2.00"* ]] || { echo "changed: FFmpeg 9"; exit 1; }
[[ $old == *"RESULT 2.00 1.80"* ]] || { echo "changed: FFmpeg 4.2"; exit 1; }
