"""`dmix init`: from a folder of text to the files and commands of a first run, sized for this machine.

Nothing is classified or trained here: it draws evaluation items, looks at the model, measures the
speed of the machine with one matrix product, and writes the files that the next commands read
(`dmix.cli.workflows.start.project_files`).
"""

import json
import stat
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dmix.cli.show.result import Result
from dmix.cli.workflows.start.project_files import STEPS, Checkpoint, FieldText, Sizes, project_files
from dmix.cli.workflows.timing import in_words, training_speed
from dmix.etl.templates.settings import PLAIN_TEXT, TextSettings
from dmix.warehouse_schema.errors import InputError, NotFoundError
from dmix.warehouse_schema.files.layout import publish_bytes
from dmix.warehouse_schema.files.sizes import size_text
from dmix.warehouse_schema.progress import Progress
from dmix.warehouse_schema.taxonomy import FIELDS

if TYPE_CHECKING:
    from dmix.etl.reading.holdout import HeldOut
    from dmix.etl.reading.records import Columns

# Items of each field and kind (feedback, judging).
ITEMS = 100
# Tokens of an item, about: it has at most 600 characters.
_ITEM_TOKENS = 120
# What gzip and zstd make of English text.
_COMPRESSED = 3.0
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
    """

    folder: Path
    files: dict[str, str]
    fields: dict[str, FieldText]
    sizes: Sizes
    model: str | None
    parameters: int | None


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
    from dmix.etl.reading.holdout import field_folders
    from dmix.etl.reading.records import Columns

    data, out = data.expanduser().absolute(), out.expanduser().absolute()
    if not data.is_dir():
        raise NotFoundError(
            f"{data} is no folder; name the folder with the sub-folders 'source' and 'target'"
        )
    if not 0 < hours < float("inf"):
        raise InputError(f"--hours is {hours}, expected a number above 0")
    if (out / "environment.yaml").exists():
        raise InputError(
            f"{out} has a project already (environment.yaml); choose another folder or remove it"
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
        items=sum(text.feedback for text in fields.values()),
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
        ),
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


def _result(found: InitResult, *, dry_run: bool) -> Result:
    result = Result({**asdict(found), "folder": str(found.folder)}, found)
    for field, text in found.fields.items():
        rejected = ", ".join(f"{count:,} {reason}" for reason, count in text.rejected.items())
        result.line(
            f"{field}: {size_text(text.size_bytes)}, about {text.tokens:,} tokens; held out"
            f" {text.feedback} feedback and {text.judging} judging"
            f" items{' from the ends of documents' if text.copied else ''}"
            f"{f'; rejected: {rejected}' if rejected else ''}"
        )
    sizes = found.sizes
    minutes = sizes.minutes
    result.line(
        f"a run: {sizes.steps} steps of {sizes.samples_per_step} samples of {sizes.seq_len} tokens,"
        f" {sizes.tokens:,} tokens"
        f"{'' if minutes is None else f', {in_words(60 * minutes)} on this machine'}"
    )
    result.table(["file", "content"], list(found.files.items()))
    result.line(
        f"would write these files into {found.folder}"
        if dry_run
        else f"next: read {found.folder / 'run.sh'}, then start it"
    )
    return result


def fitting_sizes(
    *, tokens: int, parameters: int | None, longest: int | None, hours: float, items: int = 0
) -> Sizes:
    """Sizes of a run that passes once over the text, or less where that takes too many hours.

    Args:
        tokens: Tokens of both fields.
        parameters: Weights of the model; None where they are not known.
        longest: Most positions that the model takes; None for no bound.
        hours: Longest training run, its scoring included.
        items: Feedback items of both fields.
    """
    scored = items * _ITEM_TOKENS
    speed = None if parameters is None else training_speed(parameters)
    small = parameters is not None and parameters < 50e6
    seq_len = min(256 if small else 512, longest or 512)
    read = (STEPS + 1) * scored / 3  # in tokens that are trained on
    budget = tokens if speed is None else min(tokens, max(0, speed * hours * 3600 - read))
    samples = max(1, int(budget / seq_len / STEPS))
    batch = 32
    while batch > 1 and samples < 2 * batch:
        batch //= 2
    return Sizes(
        seq_len=seq_len,
        batch_size=batch,
        samples_per_step=max(batch, samples // batch * batch),
        steps=STEPS,
        tokens_per_second=speed,
        scored_tokens=scored,
    )


def _look_at(model: str | None) -> Checkpoint:
    if model is None:
        return Checkpoint(name=None, parameters=_SMALL_WEIGHTS, max_positions=1024)
    folder = Path(model).expanduser()
    if not folder.exists():
        if folder.is_absolute() or model.startswith((".", "~")):
            raise NotFoundError(f"--model: {folder} does not exist; give a checkpoint folder or a hub id")
        return Checkpoint(name=model, parameters=None, max_positions=None)
    file = folder / "config.json"
    if not file.is_file():
        raise InputError(
            f"--model: {folder} has no config.json; give a folder that transformers can load, as"
            " `save_pretrained` writes it"
        )
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"--model: {file} is not JSON: {error}") from None
    names = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")
    positions = next((config[name] for name in names if isinstance(config.get(name), int)), None)
    return Checkpoint(name=str(folder.absolute()), parameters=stored_weights(folder), max_positions=positions)


def stored_weights(folder: Path) -> int | None:
    """Number of weights in the safetensors files of a folder; None if it has none.

    Raises:
        InputError: If the header of a file is damaged.
    """
    files = sorted(folder.glob("*.safetensors"))
    total = 0
    for path in files:
        with open(path, "rb") as file:
            start = file.read(8)
            size = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
            try:
                if not 0 < size <= path.stat().st_size - 8:
                    raise ValueError("it ends within its header")
                header = json.loads(file.read(size))
                shapes = [value["shape"] for name, value in header.items() if name != "__metadata__"]
            except (ValueError, KeyError, TypeError) as error:
                raise InputError(f"{path} is not a safetensors file ({error}); download it again") from None
        for shape in shapes:
            weights = 1
            for length in shape:
                weights *= length
            total += weights
    return total if files else None


def copy_text(
    folders: list[str],
    *,
    field: str,
    text: Path,
    out: Path,
    num_items: int = ITEMS,
    columns: "Columns | None" = None,
) -> "HeldOut":
    """Copies the text of a field to `text/FIELD` and holds items out of it: `out/items`, `out/judging`.

    Args:
        folders: Folders of the field.
        field: Its name.
        text: Folder for the copy, of at most `COPY_LIMIT_BYTES`.
        out: Folder for the items.
        num_items: Most items of each kind.
        columns: Where the text is in records; the column `text` if None.

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
    )


def _draw(folders: list[str], *, field: str, out: Path, columns: "Columns", dry_run: bool) -> FieldText:
    """Items of a field, written below `items/`; the text, too, where it must be cut for them."""
    from dmix.etl.reading.holdout import draw_items, write_items
    from dmix.etl.reading.sources import find_files

    size_bytes = round(
        sum(
            file.size_bytes * (1 if file.compression == "none" else _COMPRESSED)
            for file in find_files(folders).files
        )
    )
    drawn = draw_items(folders, num_items=ITEMS, columns=columns)
    feedback, judging = out / "items" / f"{field}.jsonl", out / "judging" / f"{field}.jsonl"
    if drawn.enough or dry_run:
        if not dry_run:
            write_items(feedback, drawn.feedback)
            write_items(judging, drawn.judging)
        return FieldText(
            inputs=tuple(folders),
            size_bytes=size_bytes,
            feedback=len(drawn.feedback),
            judging=len(drawn.judging),
            copied=not drawn.enough,
            rejected=drawn.rejected,
        )
    held = copy_text(folders, field=field, text=out / "data", out=out, columns=columns)
    return FieldText(
        inputs=(f"data/{field}",),
        size_bytes=size_bytes,
        feedback=held.items,
        judging=held.judging,
        copied=True,
        rejected=held.rejected,
    )
