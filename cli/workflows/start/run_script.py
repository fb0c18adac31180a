"""`run.sh` of a project: the commands from text to scored runs, with paths and sizes filled in."""

import shlex
from collections.abc import Mapping

from dmix.cli.workflows.start.sizes import BYTES_PER_TOKEN, READ_RATE, FieldText, Sizes
from dmix.cli.workflows.timing import START_SECONDS, in_words
from dmix.etl.reading.documents import Columns
from dmix.etl.templates.settings import TextSettings
from dmix.etl.templates.templates import special_token_flags
from dmix.warehouse_schema.files.processes import cores
from dmix.warehouse_schema.taxonomy import FIELDS

# MB per second that a process classifies or shards.
_TEXT_RATE = 8.0


def run_script(
    fields: Mapping[str, FieldText],
    sizes: Sizes,
    *,
    model: str | None,
    reading: TextSettings,
    number: int = 1,
) -> str:
    """The text of `run.sh`.

    Args:
        fields: The text of each field.
        sizes: Sizes of a run.
        model: Checkpoint or hub id; None for the small model of `model.yaml`.
        reading: Where the text is in records.
        number: Which warehouse of the project it uses; later ones have other sizes or another model.
    """
    megabytes = sum(text.size_bytes for text in fields.values()) / 1e6
    text_time = START_SECONDS + megabytes / (_TEXT_RATE * cores())
    name = "base" if model is None else shlex.quote(model)
    return _SCRIPT.format(
        suffix=suffix(number),
        megabytes=f"{megabytes:,.1f}",
        text_time=in_words(text_time),
        run_time=_words(sizes.seconds),
        judge_time=_words(_judge_seconds(fields, sizes)),
        unread=f"# {unread}\n" if (unread := more_text(fields, reading)) else "",
        classify="\n".join(_classify(fields, reading)),
        special_tokens="" if model is None else special_token_flags(reading),
        tokenizer="embedded" if model is None else name,
        seq_len=sizes.seq_len,
        base=_base(fields, sizes) if model is None else "",
        samples="" if sizes.reads_all else f" --samples {sizes.samples}",
        model=name,
        sizes=sizes.flags,
    )


def suffix(number: int) -> str:
    """What the names of a project's warehouse, mixture and report end with; empty for the first ones."""
    return "" if number == 1 else f"-{number}"


def _words(seconds: float | None) -> str:
    return "time unknown; add --dry-run to estimate it" if seconds is None else in_words(seconds)


def _base(fields: Mapping[str, FieldText], sizes: Sizes) -> str:
    """The command that trains the small model on half of what a run reads of the source, or all of it."""
    tokens = min(fields["source"].tokens, sizes.tokens) // 2
    speed = sizes.tokens_per_second
    took = _words(None if speed is None else START_SECONDS + tokens / speed)
    return (
        f"\n# Pre-train a model on the source ({took}). The runs start from it.\n"
        f"dmix train base --model model.yaml --training base-training.yaml --tokens {tokens} --name base\n"
    )


def more_text(fields: Mapping[str, FieldText], reading: TextSettings) -> str:
    """How to read records that have their text elsewhere, too; empty if there are none, or no flag does."""
    read = Columns.of(reading).alternatives
    wider = read and read.wider(columns for text in fields.values() for columns in text.other_columns)
    if wider is None or wider == read:
        return ""
    return f"To read the records without text, too, run dmix init into another folder with {wider.flag}"


def _judge_seconds(fields: Mapping[str, FieldText], sizes: Sizes) -> float | None:
    """How long `dmix eval` takes for the first and the last model of a run."""
    if sizes.tokens_per_second is None:
        return None
    tokens = 2 * sum(
        text.item_characters / BYTES_PER_TOKEN * text.judging / text.feedback for text in fields.values()
    )
    return START_SECONDS + tokens / READ_RATE / sizes.tokens_per_second


def _classify(fields: Mapping[str, FieldText], reading: TextSettings) -> list[str]:
    """The commands that classify: one, or one per field where only one field was copied to plain text."""
    inputs: dict[str, list[str]] = {}
    for field in FIELDS:
        flags = "" if fields[field].copied else reading.flags()
        inputs.setdefault(flags, []).extend(f"--{field} {shlex.quote(path)}" for path in fields[field].inputs)
    return [f"dmix etl classify {' '.join(paths)}{flags}" for flags, paths in inputs.items()]


_SCRIPT = """\
#!/usr/bin/env bash
# From text to scored runs. You can stop this script with Ctrl-C. Start it again and it resumes.
# Times are for idle cores. Add --dry-run to a command to see its plan.
set -euo pipefail
cd "$(dirname "$0")"
export DMIX_WAREHOUSE=warehouse{suffix}

# 1. Label every document with a domain ({megabytes} MB, {text_time}).
{unread}{classify}

# 2. Make a dataset without the documents that contain evaluation items ({text_time}).
dmix etl shard --tokenizer {tokenizer} --seq-len {seq_len}{special_tokens} \\
  --environment environment.yaml --environment judging.yaml
{base}
# 3. Measure how each domain changes each objective (seconds), and plan a mixture from these effects.
dmix mix probe --environment environment.yaml
dmix mix plan{samples} --out mixture{suffix}.yaml

# 4. Train a run ({run_time}), and judge it on items that no controller saw ({judge_time}).
# The first run uses natural mixing, for comparison. In the second run, dmix-base uses the planned mixture.
train() {{
  dmix train --run "$@" --model {model} --environment environment.yaml --training training.yaml \\
    --exhaustion repeat{sizes}
  dmix eval --run "$1" --step all --environment judging.yaml
}}
train natural --controller natural
train planned --agent dmix-base

# 5. Write a report: one HTML file.
dmix report --out report{suffix}.html
"""
