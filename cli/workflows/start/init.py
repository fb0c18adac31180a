"""`dmix init`: from a folder of text to the files and commands of a first run, sized for this machine.

Nothing is classified or trained here: it draws evaluation items, looks at the model, measures the
speed of the machine with one matrix product, and writes the files that the next commands read
(`dmix.cli.workflows.start.project_files`).
"""

import stat
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dmix.cli.show.result import Result
from dmix.cli.workflows.start.project_files import (
    BYTES_PER_TOKEN,
    FEWEST_SCORED,
    FEWEST_STEPS,
    READ_RATE,
    STEPS,
    Checkpoint,
    FieldText,
    Sizes,
    more_text,
    project_files,
    scored_tokens,
    time_of_run,
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
    from dmix.etl.reading.holdout import HeldOut

# Items of each field and kind (feedback, judging).
ITEMS = 100
# Seconds of scoring in a run that nobody needs to save.
_SCORING_SECONDS = 60
# A run that reads this share of the text reads all that a user would miss.
_NEARLY_ALL = 0.9
# Weights of the model that `model.yaml` describes.
_SMALL_WEIGHTS = 624_960
# A copy of the text is written only where the ends of documents are cut off; such text is small.
COPY_LIMIT_BYTES = 64 * 2**20


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
    """

    folder: Path
    files: dict[str, str]
    fields: dict[str, FieldText]
    sizes: Sizes
    model: str | None
    parameters: int | None
    not_read: tuple[str, ...] = ()


def init_project(
    *,
    out: Path,
    data: Path,
    model: str | None = None,
    hours: float = 1.0,
    settings: TextSettings = PLAIN_TEXT,
    dry_run: bool = False,
    progress: Progress,
) -> Result:
    """Looks at a folder of text and writes the files of a first run; the value is an `InitResult`.

    Args:
        out: Folder for the files; made if it does not exist.
        data: Folder of text with sub-folders `source*` and `target*`.
        model: Checkpoint folder or hub id to train; a small model from random weights if None.
        hours: Time limit in hours for one training run on this machine.
        settings: Where the text is in JSON Lines and Parquet files.
        dry_run: Look, and write nothing.
        progress: Receives a line for each field.

    Raises:
        NotFoundError: If a folder does not exist.
        InputError: If a field has no text or too few documents, `out` holds a project already, or the
            model is no checkpoint.
    """
    from dmix.etl.reading.documents import Columns
    from dmix.etl.reading.holdout import field_folders

    data, out = from_home(data).absolute(), from_home(out).absolute()
    if not data.is_dir():
        raise NotFoundError(
            f"{data} is not a folder; give the folder with the sub-folders 'source' and 'target'"
        )
    if not 0 < hours < float("inf"):
        raise InputError(f"--hours is {hours}, expected a number above 0")
    if (out / "environment.yaml").exists():
        raise InputError(
            f"{out} already has a project (environment.yaml); choose another folder, or remove this one"
        )
    checkpoint = _look_at(model)
    reading = settings.absolute()  # run.sh works in another folder
    folders, columns = field_folders(data), Columns.of(reading)
    fields = {}
    for field in FIELDS:
        progress(f"reading the {field} text")
        fields[field] = _draw(folders[field], field=field, out=out, columns=columns, dry_run=dry_run)
    sizes = fitting_sizes(
        tokens=sum(text.tokens for text in fields.values()),
        parameters=checkpoint.parameters,
        longest=checkpoint.max_positions,
        hours=hours,
        items=[(text.feedback, text.item_characters / BYTES_PER_TOKEN) for text in fields.values()],
        bf16=bool(checkpoint.bf16),
    )
    texts = project_files(fields, sizes, checkpoint, reading=reading)
    if not dry_run:
        _write(out, {name: text for name, (_, text) in texts.items()})
    return _result(
        InitResult(
            folder=out,
            files={name: words for name, (words, _) in texts.items()},
            fields=fields,
            sizes=sizes,
            model=checkpoint.name,
            parameters=checkpoint.parameters,
            not_read=() if dry_run else _not_read(fields),
        ),
        reading=reading,
        notes=checkpoint.notes,
        hours=hours,
        dry_run=dry_run,
    )


def _write(out: Path, texts: Mapping[str, str]) -> None:
    for name, text in texts.items():
        if name != "environment.yaml":
            publish_bytes(out / name, text.encode())
    script = out / "run.sh"
    script.chmod(script.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    # last, since it tells the next start that the project is whole
    publish_bytes(out / "environment.yaml", texts["environment.yaml"].encode())


def _result(
    found: InitResult, *, reading: TextSettings, notes: Sequence[str], hours: float, dry_run: bool
) -> Result:
    from dmix.etl.reading.sources import conversion

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
    result.line(
        f"a run: {num_text(sizes.steps, 'step')}, each with {num_text(sizes.samples_per_step, 'sample')} of "
        f"{num_text(sizes.seq_len, 'token')}; {num_text(sizes.tokens, 'token')} in all"
        f"{share_of_text(sizes.tokens, found.fields)}{time_of_run(sizes)}"
    )
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
    result.table(["file", "content"], list(found.files.items()))
    result.line(
        f"would write these files into {found.folder}"
        if dry_run
        else f"next: read {found.folder / 'run.sh'}, then start it"
    )
    return result


def _not_read(fields: Mapping[str, FieldText]) -> tuple[str, ...]:
    """Lists of the records that were not read of copied text; `etl classify` counts them as rejects."""
    copied = (field for field, text in fields.items() if text.copied and text.rejected)
    return tuple(f"data/{field}/{NOT_READ}" for field in copied)


def share_of_text(tokens: int, fields: Mapping[str, FieldText]) -> str:
    """How much of the text a run reads, as an addition to a line; empty if it reads nearly all of it."""
    share = tokens / max(1, sum(text.tokens for text in fields.values()))
    return f" ({share:.0%} of the text)" if share < _NEARLY_ALL else ""


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


def fitting_sizes(
    *,
    tokens: int,
    parameters: int | None,
    longest: int | None,
    hours: float,
    items: Sequence[tuple[int, float]] = (),
    bf16: bool = False,
) -> Sizes:
    """Sizes of a run that passes once over the text, or less where that takes too many hours.

    Scoring takes at most half of the time of a run that takes longer than two minutes: dmix scores fewer
    items, and where scores would become mostly chance, the run has fewer steps.

    Args:
        tokens: Tokens of both fields.
        parameters: Weights of the model; None where they are not known.
        longest: Most positions that the model takes; None for no bound.
        hours: Longest training run, its scoring included.
        items: Number and tokens of the feedback items of each objective.
        bf16: Whether a processor computes in bf16.
    """
    from dmix.training.model.estimate.shapes import OPERATIONS
    from dmix.training.model.estimate.speed import training_speed

    speed = None if parameters is None else training_speed(OPERATIONS * parameters, bf16=bf16)
    small = parameters is not None and parameters < 50e6
    seq_len = min(256 if small else 512, longest or 512)
    steps, limit, budget = STEPS, None, float(tokens)
    if speed is not None:
        room = speed * hours * 3600  # in tokens that are trained on
        steps, limit = _fitting_scores(items, share=min(room / 2, max(tokens, _SCORING_SECONDS * speed)))
        budget = min(tokens, max(0, room - (steps + 1) * scored_tokens(items, limit) / READ_RATE))
    samples = max(1, int(budget / seq_len / steps))
    batch = 32
    while batch > 1 and samples < 2 * batch:
        batch //= 2
    return Sizes(
        seq_len=seq_len,
        batch_size=batch,
        samples_per_step=max(batch, samples // batch * batch),
        steps=steps,
        tokens_per_second=speed,
        scored_tokens=round(scored_tokens(items, limit)),
        limit=limit,
    )


def _fitting_scores(items: Sequence[tuple[int, float]], *, share: float) -> tuple[int, int | None]:
    """Steps of a run, and the items of each objective that it scores; None for all.

    Args:
        items: Number and tokens of the items of each objective.
        share: Time that scoring may take, in tokens that are trained on in that time.
    """
    from dmix.etl.reading.holdout import FEWEST_ITEMS

    steps, most = STEPS, max((number for number, _ in items), default=0)

    def fits(limit: int) -> bool:
        return (steps + 1) * scored_tokens(items, limit) / READ_RATE <= share

    while steps > FEWEST_STEPS and not fits(FEWEST_ITEMS):
        steps //= 2
    limits = range(most, FEWEST_SCORED, -1)
    limit = next((limit for limit in limits if fits(limit)), FEWEST_SCORED)
    return steps, limit if limit < most else None


def _bf16_for_training() -> tuple[str, ...]:
    """Instructions by which the processor that trains multiplies bf16; none where a GPU trains."""
    from dmix.training.model.estimate.memory import has_gpu
    from dmix.training.model.estimate.processor import bf16_instructions

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


def copy_text(
    folders: list[str],
    *,
    field: str,
    text: Path,
    out: Path,
    num_items: int = ITEMS,
    columns: "Columns | None" = None,
    dry_run: bool = False,
) -> "HeldOut":
    """Copies the text of a field to `text/FIELD` and holds items out of it: `out/items`, `out/judging`.

    Args:
        folders: Folders of the field.
        field: Its name.
        text: Folder for the copy, of at most `COPY_LIMIT_BYTES`.
        out: Folder for the items.
        num_items: Most items of each kind.
        columns: Where the text is in records; the column `text` if None.
        dry_run: Read and count, and write nothing.

    Raises:
        InputError: If nothing is left to train on.
    """
    from dmix.etl.reading.holdout import PLAIN, hold_out

    return hold_out(
        folders,
        corpus=text / field / "documents.jsonl",
        items=out / "items" / f"{field}.jsonl",
        judging=out / "judging" / f"{field}.jsonl",
        num_items=num_items,
        limit_bytes=COPY_LIMIT_BYTES,
        columns=columns or PLAIN,
        dry_run=dry_run,
    )


def _draw(folders: list[str], *, field: str, out: Path, columns: "Columns", dry_run: bool) -> FieldText:
    """Items of a field, written below `items/`; the text, too, where it must be cut for them."""
    from dmix.etl.reading.holdout import draw_items, write_items
    from dmix.etl.reading.sources import find_files

    skipped = find_files(folders).skipped
    drawn = draw_items(folders, num_items=ITEMS, columns=columns)
    feedback, judging = out / "items" / f"{field}.jsonl", out / "judging" / f"{field}.jsonl"
    if drawn.enough:
        if not dry_run:
            write_items(feedback, drawn.feedback)
            write_items(judging, drawn.judging)
        return FieldText(
            inputs=tuple(folders),
            size_bytes=drawn.size_bytes,
            feedback=len(drawn.feedback),
            judging=len(drawn.judging),
            copied=False,
            whole=len(drawn.feedback) + len(drawn.judging),
            rejected=drawn.rejected,
            rejects=drawn.rejects,
            not_read=drawn.not_read,
            other_columns=drawn.other_columns,
            skipped=skipped,
            item_characters=sum(len(item["text"]) for item in drawn.feedback),
        )
    held = copy_text(folders, field=field, text=out / "data", out=out, columns=columns, dry_run=dry_run)
    return FieldText(
        inputs=(f"data/{field}",),
        size_bytes=held.size_bytes,
        feedback=held.items,
        judging=held.judging,
        copied=True,
        whole=held.whole,
        rejected=held.rejected,
        rejects=held.rejects,
        not_read=held.not_read,
        other_columns=held.other_columns,
        skipped=skipped,
        item_characters=held.item_characters,
    )
