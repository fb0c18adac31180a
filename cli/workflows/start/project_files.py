"""The files of a project that `dmix init` writes: their texts, with sizes filled in."""

import os
import shlex
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as defaults
from pathlib import Path

import dmix
from dmix.cli.workflows.timing import in_words
from dmix.etl.publishing.rejects import Reject
from dmix.etl.reading.documents import Columns
from dmix.etl.templates.settings import TextSettings
from dmix.etl.templates.templates import special_token_flags
from dmix.warehouse_schema.sizes import num_text
from dmix.warehouse_schema.taxonomy import FIELDS

STEPS = 16
# A controller that reads scores needs some steps, however little time there is.
FEWEST_STEPS = 4
# Items of each objective that a run scores at least, however slow the model is.
FEWEST_SCORED = 10
# Tokens that a model scores in the time in which it trains on one.
READ_RATE = 3
# Files in which every field is explained; they come with the package.
EXAMPLES = Path(dmix.__file__).parent / "examples"
# Learning rates of the small model: from random weights, and once it knows the source.
BASE_RATE, RATE = "4.0e-3", "2.0e-3"
# Bytes of UTF-8 text per token, English text under common tokenizers.
BYTES_PER_TOKEN = 4.0
# Seconds that classifying or sharding takes at least, and MB per second of each process after that.
_START_SECONDS, _TEXT_RATE = 10, 8.0


@dataclass(frozen=True, kw_only=True)
class FieldText:
    """The text of one field.

    Attributes:
        inputs: What `dmix etl classify` is given, absolute.
        size_bytes: UTF-8 bytes of the text that dmix can read, estimated for files not read to the end.
        feedback: Number of feedback items.
        judging: Number of judging items, of other documents.
        copied: Whether the text was copied without the ends of its documents.
        whole: Documents that became items as a whole.
        rejected: Records that could not be read while items were drawn, by reason.
        rejects: The first of these records, with file and place.
        not_read: Lines about them, one for each file and kind.
        other_columns: Columns of records that lack a text, of each kind.
        skipped: Files that dmix does not read, by ending.
        item_characters: Characters of the feedback items.
    """

    inputs: tuple[str, ...]
    size_bytes: int
    feedback: int
    judging: int
    copied: bool
    whole: int
    rejected: Mapping[str, int]
    rejects: tuple[Reject, ...] = ()
    not_read: tuple[str, ...] = ()
    other_columns: tuple[tuple[str, ...], ...] = ()
    skipped: Mapping[str, int] = defaults(default_factory=dict)
    item_characters: int = 0

    @property
    def tokens(self) -> int:
        """Tokens, estimated from bytes."""
        return round(self.size_bytes / BYTES_PER_TOKEN)


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Sizes of a run that fits the machine, the text and the hours.

    Attributes:
        seq_len: Tokens of a sample.
        batch_size: Samples of a global batch.
        samples_per_step: Samples of a step, a multiple of the batch.
        steps: Number of steps.
        tokens_per_second: Speed of training, estimated; None where the model's size is not known.
        scored_tokens: Tokens of the items that are scored before the first step and after each.
        limit: Items of each objective that are scored; None for all.
    """

    seq_len: int
    batch_size: int
    samples_per_step: int
    steps: int
    tokens_per_second: float | None
    scored_tokens: int = 0
    limit: int | None = None

    @property
    def tokens(self) -> int:
        """Tokens of one run."""
        return self.steps * self.samples_per_step * self.seq_len

    @property
    def minutes(self) -> float | None:
        """Minutes of one run; reading a token takes a third of training on it."""
        if self.tokens_per_second is None:
            return None
        return self.tokens / self.tokens_per_second / 60 + (self.scoring_minutes or 0)

    @property
    def scoring_minutes(self) -> float | None:
        """Minutes of one run in which the model scores items."""
        if self.tokens_per_second is None:
            return None
        read = (self.steps + 1) * self.scored_tokens
        return read / READ_RATE / self.tokens_per_second / 60


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What is known of a model before it is loaded.

    Attributes:
        name: Folder or hub id; None for a small model from random weights.
        parameters: Number of weights; None where it is not known.
        max_positions: Most positions that the model takes; None for no bound.
        bf16: Instructions by which the processor that trains it multiplies bf16; none where a GPU trains it.
        warning: What may be wrong with the name; empty if nothing.
    """

    name: str | None
    parameters: int | None
    max_positions: int | None
    bf16: tuple[str, ...] = ()
    warning: str = ""

    @property
    def notes(self) -> list[str]:
        """Lines for people."""
        faster = "this processor computes fast in bf16, so training.yaml sets precision: bf16"
        return [line for line in (self.warning, faster if self.bf16 else "") if line]


def project_files(
    fields: Mapping[str, FieldText], sizes: Sizes, checkpoint: Checkpoint, *, reading: TextSettings
) -> dict[str, tuple[str, str]]:
    """Every file of a project, by name: a few words about it, and its text."""
    scratch = checkpoint.name is None
    files = {
        "environment.yaml": (
            "objectives that score the model after every step",
            environment_text("feedback", "items", limit=sizes.limit, why=_why_limited(fields, sizes)),
        ),
        "judging.yaml": (
            "the same objectives on judging items, which no controller sees",
            environment_text("judging", "judging"),
        ),
        "training.yaml": (
            "training settings of the runs",
            training_text(
                sizes.batch_size,
                RATE if scratch else "2.0e-5",
                why=(
                    "a small model that dmix trained on your source first"
                    if scratch
                    else "trained weights; ten to a hundred times below the usual rate of pre-training"
                ),
                bf16=checkpoint.bf16,
                large=not scratch,
            ),
        ),
        "proxy.yaml": (
            "the proxy (small model) for `dmix mix collect`, if you train an agent",
            proxy_text("scratch"),
        ),
    }
    if scratch:
        files["model.yaml"] = ("a small model from random weights", MODEL)
        files["base-training.yaml"] = (
            "training settings of that model on the source",
            training_text(sizes.batch_size, BASE_RATE, why="a model from random weights"),
        )
    files["run.sh"] = (
        "all commands in order",
        _script(fields, sizes, checkpoint, reading=reading),
    )
    return files


def time_of_run(sizes: Sizes) -> str:
    """How long a run takes and how much of it is scoring; empty where this is not known."""
    if sizes.minutes is None:
        return ""
    scoring = 60 * (sizes.scoring_minutes or 0)
    share = scoring / (60 * sizes.minutes)
    words = f", of which scoring takes {in_words(scoring)}" if share >= _WORTH_A_WORD else ""
    return f", {in_words(60 * sizes.minutes)} on this machine{words}"


# Share of a run's time from which on its scoring is mentioned.
_WORTH_A_WORD = 0.2


def scored_tokens(items: Sequence[tuple[int, float]], limit: int | None) -> float:
    """Tokens of the items that are scored.

    Args:
        items: Number and tokens of the items of each objective.
        limit: Items of each objective that are scored; None for all.
    """
    return sum(
        tokens if limit is None or limit >= number else tokens * limit / number for number, tokens in items
    )


def environment_text(kind: str, folder: str, *, limit: int | None = None, why: str = "") -> str:
    """An environment file on the items of a folder.

    Args:
        kind: What the items are: feedback or judging.
        folder: Their folder.
        limit: Items of each objective that are scored; None for all.
        why: Comment about the limit, without `#`; empty for none.
    """
    return _ENVIRONMENT.format(
        kind=kind,
        folder=folder,
        examples=EXAMPLES,
        limit="" if limit is None else f", limit: {limit}",
        why="".join(f"# {line}\n" for line in textwrap.wrap(why, 100)),
    )


def _why_limited(fields: Mapping[str, FieldText], sizes: Sizes) -> str:
    """What the limit of an environment file is for and costs, and what a change of it would cost."""
    effects = (
        "change the objectives. Then effects from before do not count any more: run 'dmix mix probe' and "
        "'dmix mix plan' again, and start runs under new names."
    )
    if sizes.limit is None:
        return (
            "Each score is the mean over all items. 'limit: N' beside a path would score N of them, and "
            f"{effects}"
        )
    most = max(text.feedback for text in fields.values())
    error = f"{(most / sizes.limit) ** 0.5:.1f}"
    return (
        f"limit: each score is the mean over {num_text(sizes.limit, 'item')}, the same ones after every "
        "step, drawn at "
        f"random from at most {most}. dmix chose this number so that scoring takes at most about half of a "
        f"run's time on this machine. The price: standard errors are about {error} times those of all items. "
        f"To change or remove a limit would {effects}"
    )


def training_text(
    batch_size: int, rate: str, *, why: str, bf16: Sequence[str] = (), large: bool = False
) -> str:
    """A training file.

    Args:
        batch_size: Samples in a batch.
        rate: Learning rate.
        why: What the rate is for.
        bf16: Instructions by which the processor multiplies bf16; the file sets bf16 where there are some.
        large: Whether the model is a checkpoint, whose run keeps one checkpoint; other runs keep two.
    """
    return _TRAINING.format(
        batch=batch_size,
        rate=rate,
        why=why,
        kept=_ONE_KEPT if large else _TWO_KEPT,
        precision=_BF16.format(names=" and ".join(bf16)) if bf16 else "",
        examples=EXAMPLES,
    )


def proxy_text(init: str) -> str:
    """A proxy file, for proxies from random weights (`scratch`) or from a base model (`base`)."""
    return _PROXY.format(init=init, rate=RATE)


def _script(
    fields: Mapping[str, FieldText], sizes: Sizes, checkpoint: Checkpoint, *, reading: TextSettings
) -> str:
    megabytes = sum(text.size_bytes for text in fields.values()) / 1e6
    text_time = in_words(_START_SECONDS + megabytes / (_TEXT_RATE * (os.cpu_count() or 1)))
    run_time = (
        "time unknown; add --dry-run to estimate it"
        if sizes.minutes is None
        else f"{in_words(60 * sizes.minutes)} each"
    )
    tokenizer = "embedded" if checkpoint.name is None else shlex.quote(checkpoint.name)
    trained = "base" if checkpoint.name is None else shlex.quote(checkpoint.name)
    common = (
        f"--model {trained} --environment environment.yaml --training training.yaml"
        f" --steps {sizes.steps} --samples-per-step {sizes.samples_per_step} --exhaustion repeat"
    )
    base = ""
    if checkpoint.name is None:
        tokens = min(fields["source"].tokens, sizes.tokens) // 2
        took = None if sizes.tokens_per_second is None else tokens / sizes.tokens_per_second
        base = (
            "\n# Pre-train a model on the source "
            f"({'time unknown' if took is None else in_words(took)}). The runs start from it.\ndmix "
            f"train base --model model.yaml --training base-training.yaml --tokens {tokens} --name base\n"
        )
    return _SCRIPT.format(
        megabytes=f"{megabytes:,.1f}",
        text_time=text_time,
        run_time=run_time,
        judge_time=_judge_time(fields, sizes),
        tokens=f"{sizes.tokens:,}",
        unread=f"# {unread}\n" if (unread := more_text(fields, reading)) else "",
        classify="\n".join(_classify(fields, reading)),
        special_tokens=_special_tokens(checkpoint, reading),
        tokenizer=tokenizer,
        seq_len=sizes.seq_len,
        base=base,
        samples=sizes.steps * sizes.samples_per_step,
        common=common,
    )


def more_text(fields: Mapping[str, FieldText], reading: TextSettings) -> str:
    """How to read records that have their text elsewhere, too; empty if there are none, or no flag does."""
    read = Columns.of(reading).alternatives
    wider = read and read.wider(columns for text in fields.values() for columns in text.other_columns)
    if wider is None or wider == read:
        return ""
    return f"To read the records without text, too, run dmix init into another folder with {wider.flag}"


def _judge_time(fields: Mapping[str, FieldText], sizes: Sizes) -> str:
    """How long `dmix eval` takes for the first and the last model of a run."""
    if sizes.tokens_per_second is None:
        return "time unknown"
    tokens = 2 * sum(
        text.item_characters / BYTES_PER_TOKEN * text.judging / text.feedback for text in fields.values()
    )
    return f"{in_words(_START_SECONDS + tokens / READ_RATE / sizes.tokens_per_second)} each"


def _classify(fields: Mapping[str, FieldText], reading: TextSettings) -> list[str]:
    """The commands that classify: one, or one per field where only one field was copied to plain text."""
    inputs: dict[str, list[str]] = {}
    for field in FIELDS:
        flags = "" if fields[field].copied else reading.flags()
        inputs.setdefault(flags, []).extend(f"--{field} {shlex.quote(path)}" for path in fields[field].inputs)
    return [f"dmix etl classify {' '.join(paths)}{flags}" for flags, paths in inputs.items()]


def _special_tokens(checkpoint: Checkpoint, reading: TextSettings) -> str:
    """Flags that keep what a chat template wrote, where the tokenizer is that of a checkpoint."""
    tokens = "" if checkpoint.name is None else special_token_flags(reading)
    return f" \\\n {tokens}" if tokens else ""


_ENVIRONMENT = """\
# Objectives on documents that dmix held out of the training text ({kind} items). The score of an item
# is the mean log-probability of its second half, given its first half. You can add objectives.
# {examples}/environment.yaml shows all fields.
{why}objectives:
  - {{name: source_text, role: general, kind: continuation, path: {folder}/source.jsonl{limit}}}
  - {{name: target_text, role: target, kind: continuation, path: {folder}/target.jsonl{limit}}}
"""

_TRAINING = """\
# How the model trains; {examples}/training.yaml shows all fields.
batch_size: {batch}
learning_rate: {rate}   # for {why}
warmup: 0.1
{kept}
{precision}"""
_ONE_KEPT = "checkpoints_kept: 1   # with 2, --back can go back one step"
_TWO_KEPT = "checkpoints_kept: 2   # so that --back can go back one step"
_BF16 = "precision: bf16   # this processor has {names}; on one without such instructions, set fp32\n"

MODEL = """\
# A LLaMA model of 0.6 million random weights. To use a checkpoint instead, run `dmix init --model`.
architecture: llama
config:
  hidden_size: 64
  intermediate_size: 176
  num_hidden_layers: 2
  num_attention_heads: 4
  tie_word_embeddings: true
  max_position_embeddings: 1024
"""

_PROXY = """\
# The small model that `dmix mix collect --proxy` trains along every trajectory.
init: {init}
training:
  batch_size: 16
  learning_rate: {rate}
  warmup: 0.1
"""

_SCRIPT = """\
#!/usr/bin/env bash
# All steps from text to scored runs. You can stop and repeat every command; dmix keeps finished parts.
# Times are estimates for this machine. Add --dry-run to a command to see its plan.
set -euo pipefail
cd "$(dirname "$0")"
export DMIX_WAREHOUSE=warehouse

# 1. Label every document with a domain ({megabytes} MB, {text_time}).
{unread}{classify}

# 2. Make a dataset, without documents that contain evaluation items ({text_time}).
dmix etl shard --tokenizer {tokenizer} --seq-len {seq_len} \\
  --environment environment.yaml --environment judging.yaml{special_tokens}
{base}
# 3. Measure how each domain changes each objective (seconds), and plan a mixture from these effects.
dmix mix probe --environment environment.yaml
dmix mix plan --samples {samples} --out mixture.yaml

# 4. Train twice on {tokens} tokens ({run_time}). The first run uses natural mixing, for comparison. In
# the second run, dmix-base uses the planned mixture.
# After each run, dmix eval measures how much it learned and forgot, on items that no controller saw
# ({judge_time}).
dmix train --run natural --controller natural {common}
dmix eval --run natural --step all --environment judging.yaml
dmix train --run planned --agent dmix-base {common}
dmix eval --run planned --step all --environment judging.yaml

# 5. Write a report: one HTML file.
dmix report --out report.html
"""
