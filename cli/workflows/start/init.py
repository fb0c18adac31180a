"""`dmix init`: from a folder of text to the files and commands of a first run, sized for this machine.

Nothing is classified or trained here: it draws evaluation items (`held_out`), looks at the model,
estimates the speed of the machine (`sizes`), and writes the files that the next commands read
(`project_files`, `run_script`). With `--update`, it fits the files of a project to other sizes or another
model (`project`).
"""

import stat
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from dmix.cli.show.result import Result
from dmix.cli.workflows.start.held_out import draw
from dmix.cli.workflows.start.project import (
    Change,
    Project,
    changes,
    check_same_text,
    digests_of,
    digests_of_texts,
    free_number,
    is_project,
    read_project,
)
from dmix.cli.workflows.start.project_files import Checkpoint, project_files
from dmix.cli.workflows.start.run_script import more_text, suffix
from dmix.cli.workflows.start.sizes import (
    BYTES_PER_TOKEN,
    FieldText,
    Sizes,
    fitting_sizes,
    run_in_words,
    small_domains,
)
from dmix.etl.publishing.copied import NOT_READ
from dmix.etl.templates.settings import PLAIN_TEXT, TextSettings
from dmix.training.run.request import unchecked_hub_id
from dmix.warehouse_schema.errors import InputError, NotFoundError
from dmix.warehouse_schema.files.layout import publish_bytes
from dmix.warehouse_schema.files.names import from_home
from dmix.warehouse_schema.files.weights import stored_weights
from dmix.warehouse_schema.progress import Progress
from dmix.warehouse_schema.sizes import num_text, size_text
from dmix.warehouse_schema.taxonomy import FIELDS
from dmix.warehouse_schema.text_files import read_json_object

if TYPE_CHECKING:
    from dmix.etl.reading.documents import Columns

# Weights of the model that `model.yaml` describes.
_SMALL_WEIGHTS = 624_960
_HOURS = 1.0


@dataclass(frozen=True, kw_only=True)
class InitResult:
    """What `dmix init` wrote.

    Attributes:
        folder: The project's folder.
        files: Files written, relative to it, with a few words about each.
        fields: The text of each field.
        sizes: Sizes of a run.
        model: Checkpoint or hub id that is trained; None for a small model from random weights.
        parameters: Weights of the model; None where they are not known.
        not_read: Files that list the records which could not be read, one for each field that was copied.
        changed: Files that are new or have another text than before.
    """

    folder: Path
    files: dict[str, str]
    fields: dict[str, FieldText]
    sizes: Sizes
    model: str | None
    parameters: int | None
    not_read: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()


def init_project(
    *,
    out: Path,
    data: Path | None = None,
    model: str | None = None,
    hours: float | None = None,
    steps: int | None = None,
    settings: TextSettings = PLAIN_TEXT,
    update: bool = False,
    dry_run: bool = False,
    progress: Progress,
) -> Result:
    """Looks at a folder of text and writes the files of a first run; the value is an `InitResult`.

    With `update`, it fits the files of a project that exists to other sizes or another model. What is left
    out stays as it was.

    Args:
        out: Folder for the files; made if it does not exist.
        data: Folder of text with sub-folders `source*` and `target*`.
        model: Checkpoint folder or hub id to train; a small model from random weights if None.
        hours: Time limit in hours for one training run on this machine; one hour if None.
        steps: Steps of a run; as many as `dmix train` takes, or fewer where scores take long, if None.
        settings: Where the text is in JSON Lines and Parquet files.
        update: Change a project; files that somebody edited stay.
        dry_run: Look, and write nothing.
        progress: Receives a line for each field.

    Raises:
        NotFoundError: If a folder does not exist.
        InputError: If a field has no text or too few documents, `out` holds a project already (or none, with
            `update`), its text changed, or the model is no checkpoint.
    """
    out = from_home(out).absolute()
    before = _project_before(out, update=update)
    asked = _asked(before, data=data, model=model, hours=hours, steps=steps, settings=settings)
    checkpoint = _look_at(asked.model)
    fields = {}
    with TemporaryDirectory(prefix="dmix-init-") as temporary:
        drawn = Path(temporary) if update else out
        for field, (folders, columns) in _inputs(asked).items():
            progress(f"reading the {field} text")
            # an update compares what it would write with what there is
            write = update or not dry_run
            fields[field] = draw(folders, field=field, out=drawn, columns=columns, dry_run=not write)
        kept = digests_of(drawn)
        if update:
            check_same_text(out, kept, before)
    sizes = fitting_sizes(
        tokens=sum(text.tokens for text in fields.values()),
        parameters=checkpoint.parameters,
        longest=checkpoint.max_positions,
        hours=asked.hours,
        items=[(text.feedback, text.item_characters / BYTES_PER_TOKEN) for text in fields.values()],
        bf16=bool(checkpoint.bf16),
        asked_steps=asked.steps,
    )
    found = _files(out, fields, sizes, checkpoint, asked, update=update)
    if not dry_run:
        _write(out, found)
        digests = kept | digests_of_texts(found.texts)
        replace(found.project, model=checkpoint.name, digests=digests).write(out)
    return _result(
        InitResult(
            folder=out,
            files=found.words,
            fields=fields,
            sizes=sizes,
            model=checkpoint.name,
            parameters=checkpoint.parameters,
            not_read=() if dry_run and not update else _not_read(fields),
            changed=tuple(change.name for change in found.changes if change.write_to is not None),
        ),
        found,
        notes=checkpoint.notes,
        dry_run=dry_run,
    )


def _project_before(out: Path, *, update: bool) -> Project | None:
    """What made the project that is to change; None for a new one, or where no record says so.

    Raises:
        InputError: If there is a project and none is to change, or the other way round.
    """
    if update and not is_project(out):
        raise InputError(f"{out} has no project (environment.yaml); leave out --update to make one")
    if not update and is_project(out):
        raise InputError(
            f"{out} already has a project (environment.yaml). For other sizes or another model, add "
            "--update: files that you edited stay, and so do earlier runs. To see the changes first, add "
            "--update --dry-run. For other text, choose another folder"
        )
    return read_project(out) if update else None


def _asked(
    before: Project | None,
    *,
    data: Path | None,
    model: str | None,
    hours: float | None,
    steps: int | None,
    settings: TextSettings,
) -> Project:
    """What the user wants: what was given, then what the project has, then the defaults.

    Raises:
        InputError: If a value is missing or makes no sense.
        NotFoundError: If the folder does not exist.
    """
    if data is None and before is not None:
        data = Path(before.data)
    if data is None:
        raise InputError("--data is missing; give the folder with the sub-folders 'source' and 'target'")
    data = from_home(data).absolute()
    if not data.is_dir():
        raise NotFoundError(
            f"{data} is not a folder; give the folder with the sub-folders 'source' and 'target'"
        )
    if hours is None:
        hours = _HOURS if before is None else before.hours
    if not 0 < hours < float("inf"):
        raise InputError(f"--hours is {hours}, expected a number above 0")
    if steps is None and before is not None:
        steps = before.steps
    if steps is not None and steps < 1:
        raise InputError(f"--steps is {steps}, expected 1 or more")
    if before is not None:
        model = before.model if model is None else model
        settings = before.reading if settings == PLAIN_TEXT else settings
    return Project(
        data=str(data),
        model=model,
        hours=hours,
        steps=steps,
        reading=settings.absolute(),  # run.sh works in another folder
        number=1 if before is None else before.number,
        digests={} if before is None else before.digests,
    )


def _inputs(asked: Project) -> "dict[str, tuple[list[str], Columns]]":
    """Folders of each field, and what is read of their records."""
    from dmix.etl.reading.documents import Columns
    from dmix.etl.reading.holdout import field_folders

    folders, columns = field_folders(Path(asked.data)), Columns.of(asked.reading)
    return {field: (folders[field], columns) for field in FIELDS}


@dataclass(frozen=True, kw_only=True)
class _Files:
    """Files of a project, with what becomes of them.

    Attributes:
        texts: Text of each file.
        words: A few words about each file.
        changes: What becomes of each file.
        project: What made the project, for its record.
        update: Whether there was a project.
    """

    texts: Mapping[str, str]
    words: dict[str, str]
    changes: list[Change]
    project: Project
    update: bool


def _files(
    out: Path,
    fields: Mapping[str, FieldText],
    sizes: Sizes,
    checkpoint: Checkpoint,
    asked: Project,
    *,
    update: bool,
) -> _Files:
    """The files for these sizes. Where they change, `run.sh` uses a warehouse without earlier runs."""

    def of(number: int) -> tuple[dict[str, str], dict[str, str], list[Change]]:
        files = project_files(fields, sizes, checkpoint, reading=asked.reading, number=number)
        texts = {name: text for name, (_, text) in files.items()}
        known = asked if update and asked.digests else None
        return texts, {name: words for name, (words, _) in files.items()}, changes(out, texts, known)

    number = asked.number
    texts, words, found = of(number)
    if update and any(change.write_to is not None for change in found):
        number = free_number(out, number)
        texts, words, found = of(number)
    return _Files(
        texts=texts, words=words, changes=found, project=replace(asked, number=number), update=update
    )


def _write(out: Path, found: _Files) -> None:
    targets = {change.name: change.write_to for change in found.changes if change.write_to is not None}
    # the environment last, since it tells the next start that the project is whole
    for name, target in sorted(targets.items(), key=lambda pair: pair[0] == "environment.yaml"):
        publish_bytes(out / target, found.texts[name].encode())
        if name == "run.sh":
            script = out / target
            script.chmod(script.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)


def _result(found: InitResult, files: _Files, *, notes: Sequence[str], dry_run: bool) -> Result:
    from dmix.etl.reading.sources import conversion

    reading, hours = files.project.reading, files.project.hours

    shown = asdict(found)
    for text in shown["fields"].values():
        del text["rejects"]  # as many as there are; the file has them
    result = Result({**shown, "folder": str(found.folder)}, found)
    for note in notes:
        result.line(note)
    for field, text in found.fields.items():
        result.line(
            f"{field}: {size_text(text.size_bytes)} of text, about {num_text(text.tokens, 'token')}. dmix "
            "held out "
            f"{num_text(text.feedback, 'feedback item')} and {num_text(text.judging, 'judging item')}; "
            f"{_held_out_from(text)}"
        )
        if text.skipped:
            listed = ", ".join(f"{count:,} {what}" for what, count in text.skipped.items())
            result.line(
                f"{field}: dmix left out files with unknown endings: {listed}{conversion(text.skipped)}"
            )
        for line in text.not_read:
            result.line(f"{field}: {line}")
    if more := more_text(found.fields, reading):
        result.line(more[0].lower() + more[1:])
    for name in found.not_read:
        result.line(f"list of all records that dmix could not read: {found.folder / name}")
    sizes = found.sizes
    result.line(run_in_words(sizes, found.fields))
    if small := small_domains(sizes, found.fields):
        result.line(small)
    if sizes.limit is not None:
        result.line(
            f"dmix scores {sizes.limit} of the items of each objective, before the first step and after each "
            "step (limit in environment.yaml); scoring all of them would take too much of the run's time"
        )
    if few := _few_items(found.fields):
        result.line(few)
    if sizes.minutes is not None and sizes.minutes > 1.1 * 60 * hours:
        result.line(
            f"warning: a run takes longer than --hours {hours:g}, and dmix found no smaller run. Give more "
            "--hours, or a smaller --model"
        )
    if files.update:
        _add_changes(result, files, dry_run=dry_run)
        return result
    result.table(["file", "content"], list(found.files.items()))
    for change in files.changes:
        if change.write_to not in (None, change.name):  # another file of that name is in the folder
            result.line(f"{change.name}: {change.words}")
    result.line(
        f"would write these files into {found.folder}"
        if dry_run
        else f"next: read {found.folder / 'run.sh'}, then start it"
    )
    return result


def _add_changes(result: Result, files: _Files, *, dry_run: bool) -> None:
    """Lines about an update: what becomes of each file, and in a dry run how its text differs."""
    for change in files.changes:
        result.line(f"{change.name}: {change.words}")
        for line in change.lines if dry_run else ():
            result.line(f"  {line}")
    if not any(change.write_to is not None for change in files.changes):
        result.line("the project has these sizes already; nothing changes")
    elif dry_run:
        result.line("would write these changes; leave out --dry-run to do it")
    elif files.project.number > 1:
        result.line(
            f"run.sh now uses warehouse{suffix(files.project.number)}, since runs of other sizes cannot be "
            "compared; earlier warehouses stay as they are"
        )


def _not_read(fields: Mapping[str, FieldText]) -> tuple[str, ...]:
    """Lists of the records that were not read of copied text; `etl classify` counts them as rejects."""
    copied = (field for field, text in fields.items() if text.copied and text.rejected)
    return tuple(f"data/{field}/{NOT_READ}" for field in copied)


def _few_items(fields: Mapping[str, FieldText]) -> str:
    """A warning of items that are too few to judge a run; empty if there are enough."""
    from dmix.etl.reading.holdout import FEWEST_ITEMS

    few = [
        f"{num_text(text.judging, 'judging item')} of the {field}"
        for field, text in fields.items()
        if text.judging < FEWEST_ITEMS
    ]
    if not few:
        return ""
    return (
        f"warning: {' and '.join(few)} show only large changes. Give more text, so that dmix can hold out "
        f"{FEWEST_ITEMS} or more per field"
    )


def _held_out_from(text: FieldText) -> str:
    """Which documents the items of a field come from."""
    documents = f"{num_text(text.whole, 'whole document')} became items"
    if text.whole == text.feedback + text.judging:
        return documents
    ends = "items are the ends of documents"
    return f"{documents}, the other {ends}" if text.whole else f"all {ends}"


def _bf16_for_training() -> tuple[str, ...]:
    """Instructions by which the processor that trains multiplies bf16; none where a GPU trains."""
    from dmix.training.model.estimate.processor import bf16_instructions
    from dmix.warehouse_schema.gpus import has_gpu

    return () if has_gpu() else bf16_instructions()


def _look_at(model: str | None) -> Checkpoint:
    if model is None:
        return Checkpoint(name=None, parameters=_SMALL_WEIGHTS, max_positions=1024)
    folder = from_home(model)
    if not folder.exists():
        if folder.is_absolute() or model.startswith((".", "~")):
            raise NotFoundError(f"--model: {folder} does not exist; give a checkpoint folder or a hub id")
        return Checkpoint(
            name=model,
            parameters=None,
            max_positions=None,
            bf16=_bf16_for_training(),
            warning=f"warning: {unchecked_hub_id(model)}",
        )
    file = folder / "config.json"
    if not file.is_file():
        raise InputError(
            f"--model: {folder} has no config.json; give a folder that transformers can load, for "
            "example one that `save_pretrained` wrote"
        )
    config = read_json_object(file)
    names = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")
    positions = next((config[name] for name in names if isinstance(config.get(name), int)), None)
    return Checkpoint(
        name=str(folder.absolute()),
        parameters=sum(stored_weights(folder).values()) or None,
        max_positions=positions,
        bf16=_bf16_for_training(),
    )
