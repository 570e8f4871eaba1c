"""`download`: a published file, or all files of a workflow or a task."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ....common.errors import DownloadError, InvalidInputError, MissingFileError
from ....common.printable import printable_name
from ....engine.terminal import OnBytes, shown_bytes
from ....model_loading.files.file_type import human_bytes
from ....model_loading.publishing.download import download as fetch
from ....model_loading.publishing.file_set import Standing, Wanted, check_space, fetch_all, standing
from ....model_loading.publishing.known_files import NON_COMMERCIAL, KnownFile
from ....model_loading.publishing.own_command import own_command
from ...files.places import sentence
from ..wanted_models import WantedModel
from .bundled import workflow_path
from .folders import download_folder, model_folders
from .names import NOT_RUN, asked, file_named, models_of, what_is_known
from .session import Session
from .terminal import complain, say


def download(options: argparse.Namespace, session: Session) -> None:
    """Downloads what is asked for to where `run` finds it, and prints the paths."""
    if options.names == ["?"]:
        say(what_is_known())
        return
    meant = [asked(name, session) for name in options.names]
    models = list({model.name: model for each in meant for model in each.models}.values())
    if options.to and len(models) > 1:
        raise InvalidInputError(
            f"--to is the folder of one file, and these are {len(models)}. Give the folder that holds diffusion_models "
            "and vae with --models."
        )
    for file in (model.file for model in models):
        if file is not None and file.is_non_commercial:
            complain(f"{file.name}: {NON_COMMERCIAL}. Read it before you use what it makes.")
        if file is not None and not file.is_run:
            complain(f"{file.name}: {NOT_RUN}; it is {file.what}.")
    alone = len(options.names) == 1 and file_named(options.names[0]) is not None
    if alone and not options.dry_run and models[0].file is not None:
        with _Bars() as bars:
            path = fetch(models[0].file, download_folder(options, models[0].file), on_bytes=bars.of(models[0].file))
        say(path)
        return
    _all(", ".join(each.title for each in meant), models, options)


def _all(title: str, models: Sequence[WantedModel], options: argparse.Namespace) -> None:
    """Lists the files, refuses what does not fit, and downloads what is missing."""
    standings = [standing(_wanted(model.name, model.file, options)) for model in models if model.file is not None]
    unknown = [model for model in models if model.file is None and not _lies_somewhere(model, options)]
    _list(title, standings, unknown)
    missing = [each for each in standings if each.state != "there"]
    if missing:
        say(f"To download: {_total(missing)}. Free: {check_space(missing)}.")
    failed = []
    if missing and not options.dry_run:
        with _Bars() as bars:
            failed = [file.name for file in fetch_all(missing, bars.of, _tell)]
    if failed:
        raise DownloadError(
            f"{len(failed)} of {len(missing)} files could not be downloaded ({', '.join(failed)}). What came stays: "
            "run it again to go on."
        )
    if unknown:
        names = ", ".join(f"{printable_name(each.name)} of {each.node}" for each in unknown)
        raise MissingFileError(
            f"Where to get {names} is not known here, and it is not there. Put it into its models folder by hand, or "
            "choose another."
        )


@contextmanager
def naming_all_missing(given: Path, options: argparse.Namespace, session: Session) -> Iterator[None]:
    """Inside, a refusal for a missing file also says what gets all files that the workflow lacks, if they are several.

    Args:
        given: the workflow as it was given to `run` or `plan`.
        options: of `run` or `plan`.
        session: see there.
    """
    try:
        yield
    except MissingFileError as error:
        models = models_of(workflow_path(given), session)
        wanted = [_wanted(model.name, model.file, options) for model in models if model.file is not None]
        count = sum(not any(place.is_file() for place in each.places) for each in wanted)
        if count < 2:
            raise
        words = ["download", str(given)]
        for name in ("models", "comfyui", "extra_model_paths"):
            value = vars(options)[name]
            words += [f"--{name.replace('_', '-')}", str(value)] if value else []
        every = f"{count} files are missing; all at once: {own_command(*words)}"
        refusal = MissingFileError(f"{sentence(error)} ({every})")
        raise refusal from None


def _wanted(name: str, file: KnownFile, options: argparse.Namespace) -> Wanted:
    """Where a file goes that nodes call `name`, and where else it is looked for."""
    inside = Path(name).parent
    kind = file.kind.folder_name
    folder = download_folder(options, file)
    looked = [] if vars(options).get("to") else model_folders(options, (kind,)).get(kind, [])
    return Wanted(file, folder / inside, tuple(place / inside / file.name for place in (folder, *looked)))


def _lies_somewhere(model: WantedModel, options: argparse.Namespace) -> bool:
    return any((folder / model.name).is_file() for places in model_folders(options).values() for folder in places)


def _list(title: str, standings: Sequence[Standing], unknown: Sequence[WantedModel]) -> None:
    count = len(standings) + len(unknown)
    say(f"{title}: {count or 'no'} {'file' if count == 1 else 'files'}")
    for each in standings:
        size = "?" if each.size_bytes is None else human_bytes(each.size_bytes)
        begun = f" ({human_bytes(each.here_bytes)} are here)" if each.state == "begun" else ""
        say(f"  {each.state:8}{size:>10}  {each.path}{begun}")
    for model in unknown:
        say(f"  {'unknown':8}{'?':>10}  {printable_name(model.name)} of {model.node}")


def _total(missing: Sequence[Standing]) -> str:
    open_sizes = sum(each.size_bytes is None for each in missing)
    total = human_bytes(sum(each.missing_bytes for each in missing))
    some = "a file" if open_sizes == 1 else f"{open_sizes} files"
    return total + (f" and {some} whose size nobody tells" if open_sizes else "")


def _tell(file: KnownFile, end: Path | DownloadError) -> None:
    if isinstance(end, DownloadError):
        complain(end)
    else:
        say(end)


class _Bars:
    """A progress bar for each file that begins, where somebody watches."""

    def __init__(self) -> None:
        self._shown = ExitStack()

    def __enter__(self) -> _Bars:
        return self

    def __exit__(self, *_: object) -> None:
        self._shown.close()

    def of(self, file: KnownFile) -> OnBytes:
        """The line of a file; the one before ends."""
        self._shown.close()
        return self._shown.enter_context(shown_bytes(f"Downloading {file.name}"))
