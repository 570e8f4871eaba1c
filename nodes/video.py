"""The node that saves frames as a video file."""

from __future__ import annotations

from typing import Any

from .api import io, one_sentence, ui
from .host import host
from .pictures import clean_clip
from .video_file import FORMATS, save_video


class WanDirectorSaveVideo(io.ComfyNode):
    """Frames to a file in the output folder."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanDirectorSaveVideo",
            display_name="Wan Save Video",
            category="Wan Director/video",
            description="Saves frames as a video, an animated GIF or numbered pictures, with the workflow inside, and "
            "shows the result.",
            search_aliases=["save mp4", "video combine", "export video", "gif", "webm"],
            inputs=[
                io.Image.Input("images", tooltip="The frames, in order."),
                io.Float.Input(
                    "fps",
                    default=16.0,
                    min=0.1,
                    max=240.0,
                    step=1.0,
                    round=0.01,
                    tooltip="Frames per second: 16 for Wan, 8 for the tiny demo model.",
                ),
                io.String.Input(
                    "filename_prefix",
                    default="video/WanDirector",
                    tooltip="Name of the file in the output folder; it may begin with a subfolder and hold %width%, "
                    "%height%, %year%, %month%, %day%, %hour%, %minute%, %second%. A counter is added.",
                ),
                io.Combo.Input(
                    "format",
                    options=list(FORMATS),
                    default="mp4-h264",
                    tooltip="mp4-h264 plays everywhere; mp4-h265 and webm-vp9 are smaller; gif has 256 colours; png "
                    "frames are exact.",
                ),
                io.Int.Input(
                    "quality",
                    default=80,
                    min=1,
                    max=100,
                    tooltip="1 to 100: higher is sharper and larger. Not used for gif and png frames.",
                ),
            ],
            outputs=[],
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo],
            is_output_node=True,
        )

    @classmethod
    @one_sentence
    def execute(cls, images: Any, fps: float, filename_prefix: str, format: str, quality: int) -> Any:
        frames = clean_clip(images, "images")
        place = host().save_place(filename_prefix, frames.shape[2], frames.shape[1])
        metadata = {"prompt": cls.hidden.prompt, **(cls.hidden.extra_pnginfo or {})} if host().saves_metadata() else {}
        files = save_video(frames, place, format=format, fps=fps, quality=quality, metadata=metadata)
        saved = [ui.SavedResult(file.name, place.subfolder_of(file), io.FolderType.output) for file in files]
        shown = ui.SavedImages(saved) if format == "png frames" else ui.PreviewVideo(saved)
        return io.NodeOutput(ui=shown)
