"""`python -m training.variants.example`: the clip with a voice that the workflow tiny_talk begins with."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from wan_director.media.place import SavePlace
from wan_director.media.sound.clip import Sound
from wan_director.media.video_writing import save_video
from wan_director.training.scenes import COLOURS, Scene, render
from wan_director.training.variants.clips import SIDE
from wan_director.training.variants.syllables import SAMPLE_RATE, syllables
from wan_director.training.variants.talk import FPS, FRAMES

FILE = Path(__file__).resolve().parents[2] / "docs/example_videos/wan_director_tiny_voice.mp4"
_LONGER = 4
"""Frames more than a clip of the miniature has: what is heard ends a little before the sound does."""

_PER_SECOND, _SEED = 2.3, 5


def write(path: Path) -> None:
    """Writes a clip of one picture, a red circle on a blue ground, in which a voice is heard."""
    middle, radius = (0.5, 0.5), 0.14
    scene = Scene(
        "red", "blue", "circle", "still", "slow", "small", COLOURS["red"], COLOURS["blue"], middle, middle,
        (radius, radius),
    )  # fmt: skip
    frames = (render([scene], FRAMES + _LONGER, SIDE, SIDE)[0].movedim(0, -1) + 1) / 2
    sound = Sound(syllables((FRAMES + _LONGER) / FPS, _PER_SECOND, _SEED), SAMPLE_RATE)
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as folder:
        place = SavePlace(Path(folder), "voice", 1, "")
        (saved,) = save_video(iter(frames), place, format="mp4-h264", fps=FPS, quality=95, metadata={}, sound=sound)
        path.write_bytes(saved.read_bytes())


if __name__ == "__main__":
    write(FILE)
