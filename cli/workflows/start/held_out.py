"""Evaluation items out of a folder of text, and a copy of the text where it must be cut for them."""

from pathlib import Path
from typing import TYPE_CHECKING

from dmix.cli.workflows.start.sizes import FieldText

if TYPE_CHECKING:
    from dmix.etl.reading.documents import Columns
    from dmix.etl.reading.holdout import HeldOut

# Items of each field and kind (feedback, judging).
ITEMS = 100
# A copy of the text is written only where the ends of documents are cut off; such text is small.
COPY_LIMIT_BYTES = 64 * 2**20


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


def draw(folders: list[str], *, field: str, out: Path, columns: "Columns", dry_run: bool) -> FieldText:
    """Items of a field, written below `items/`; the text, too, where it must be cut for them.

    Args:
        folders: Folders and files of the user.
        field: The field whose text they are.
        out: Folder of the project.
        columns: What is read of a record.
        dry_run: Write nothing.
    """
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
