"""A page that shows what was kept and dropped, and why: one file that needs no other, for any browser."""

from __future__ import annotations

from collections import Counter
from html import escape
from pathlib import Path

from ..keeping import write_whole
from ..settings import SCORES
from .records import Clip, PreparedClips

REPORT = "report.html"
_STYLE = """
:root { color-scheme: light dark; --line: #8886; --kept: #1a7f37; --dropped: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --kept: #6fdd8b; --dropped: #ff9a91; } }
* { box-sizing: border-box; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 0 auto; max-width: 1200px; padding: 16px; }
h1 { font-size: 1.4em; margin: 0 0 .2em; }
h2 { font-size: 1.1em; margin: 1.4em 0 .4em; }
fieldset { border: 0; display: flex; flex-wrap: wrap; gap: 8px; margin: 12px 0; padding: 0; }
fieldset label { border: 1px solid var(--line); border-radius: 6px; cursor: pointer; padding: 6px 10px; }
fieldset input { margin: 0 6px 0 0; }
label:focus-within, summary:focus-visible { outline: 3px solid #2f7de1; outline-offset: 1px; }
ul { display: grid; gap: 12px; grid-template-columns: repeat(auto-fill, minmax(min(100%, 330px), 1fr));
     list-style: none; margin: 0; padding: 0; }
li { border: 1px solid var(--line); border-radius: 8px; overflow: hidden; padding: 10px; }
li img { background: #8882; border-radius: 4px; display: block; height: auto; width: 100%; }
.name { font-weight: 600; margin: 8px 0 2px; overflow-wrap: anywhere; }
p { margin: 2px 0; overflow-wrap: anywhere; }
.kept .word { color: var(--kept); } .dropped .word { color: var(--dropped); }
.word { font-weight: 700; }
table { border-collapse: collapse; width: 100%; } td, th { border-top: 1px solid var(--line); padding: 2px 8px 2px 0;
     text-align: left; vertical-align: top; overflow-wrap: anywhere; } td + td, th + th { text-align: right; }
.plain td + td, .plain th + th { text-align: left; } .plain th:first-child { width: 30%; }
summary { cursor: pointer; padding: 4px 0; }
body:has(#only-kept:checked) .dropped, body:has(#only-dropped:checked) .kept { display: none; }
"""


def write_report(prepared: PreparedClips, out: Path) -> Path:
    """Writes the page and gives its path.

    Raises:
        OutputError: it could not be written.
    """
    path = out / REPORT
    write_whole(path, report(prepared))
    return path


def report(prepared: PreparedClips) -> str:
    """The page."""
    kept = len(prepared.kept)
    dropped = len(prepared.clips) - kept
    seconds = sum(len(clip.excerpt.numbers) for clip in prepared.kept) / prepared.settings.fps
    choices = (("all", f"All {len(prepared.clips)}"), ("kept", f"Kept {kept}"), ("dropped", f"Dropped {dropped}"))
    return "\n".join((
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>Clips: {kept} kept, {dropped} dropped</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>",
        f"<h1>{kept} clips kept, {dropped} dropped</h1>",
        f"<p>{seconds:.0f} seconds at {prepared.settings.fps:g} frames per second; {_lengths(prepared)}.</p>",
        _reasons(prepared),
        _refused(prepared),
        "<h2>Clips</h2>",
        '<fieldset aria-label="Which clips are shown">',
        *(_choice(name, words) for name, words in choices),
        "</fieldset>\n<ul>",
        *(_card(clip, prepared) for clip in prepared.clips),
        "</ul>\n</main>\n</body>\n</html>\n",
    ))  # fmt: skip


def _lengths(prepared: PreparedClips) -> str:
    counts = Counter(len(clip.excerpt.numbers) for clip in prepared.kept)
    return ", ".join(f"{count} of {frames} frames" for frames, count in sorted(counts.items())) or "none"


def _choice(name: str, words: str) -> str:
    checked = " checked" if name == "all" else ""
    return f'<label><input type="radio" name="which" id="only-{name}"{checked}>{words}</label>'


def _reasons(prepared: PreparedClips) -> str:
    rows = prepared.reasons()
    if not rows:
        return ""
    lines = "".join(f"<tr><td>{escape(word)}</td><td>{count}</td></tr>" for word, count in rows.items())
    head = '<tr><th scope="col">reason</th><th scope="col">clips</th></tr>'
    return f"<h2>Why clips were dropped</h2>\n<table>{head}{lines}</table>"


def _refused(prepared: PreparedClips) -> str:
    if not prepared.refused:
        return ""
    lines = "".join(f"<tr><td>{escape(each.name)}</td><td>{escape(each.why)}</td></tr>" for each in prepared.refused)
    head = '<tr><th scope="col">video</th><th scope="col">why</th></tr>'
    return f'<h2>Videos that could not be used</h2>\n<table class="plain">{head}{lines}</table>'


def _card(clip: Clip, prepared: PreparedClips) -> str:
    measured, excerpt = clip.measured, clip.excerpt
    name, word = escape(clip.name(prepared.settings)), "kept" if clip.is_kept else "dropped"
    scores = "".join(
        f'<tr title="{escape(SCORES[score])}"><td>{score}</td><td>{value:g}</td></tr>'
        for score, value in measured.scores.items()
    )
    where = f"{escape(clip.source.name)}, {excerpt.start_s:.2f} to {excerpt.end_s:.2f} s"
    why = f": {escape('; '.join(clip.why))}" if clip.why else ""
    caption = f"<p>{escape(clip.caption)}</p>" if clip.caption else ""
    return (
        f'<li class="{word}"><img loading="lazy" alt="First, middle and last frame of {name}" '
        f'src="data:image/jpeg;base64,{measured.shown}">'
        f'<p class="name">{name}</p><p><span class="word">{word}</span>{why}</p>'
        f"<p>{where}, {len(excerpt.numbers)} frames, {clip.width} x {clip.height}, camera: {measured.camera}</p>"
        f"{caption}<details><summary>Scores</summary><table>{scores}</table></details></li>"
    )
