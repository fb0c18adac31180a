"""The files of a project that `dmix init` writes: their texts, with sizes filled in."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import dmix
from dmix.cli.workflows.start.run_script import run_script
from dmix.cli.workflows.start.sizes import FieldText, Sizes
from dmix.etl.templates.settings import TextSettings
from dmix.warehouse_schema.sizes import num_text

# Files in which every field is explained; they come with the package.
EXAMPLES = Path(dmix.__file__).parent / "examples"
# Learning rates of the small model: from random weights, and once it knows the source.
BASE_RATE, RATE = "4.0e-3", "2.0e-3"


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
    fields: Mapping[str, FieldText],
    sizes: Sizes,
    checkpoint: Checkpoint,
    *,
    reading: TextSettings,
    number: int = 1,
) -> dict[str, tuple[str, str]]:
    """Every file of a project, by name: a few words about it, and its text.

    Args:
        fields: The text of each field.
        sizes: Sizes of a run.
        checkpoint: The model that is trained.
        reading: Where the text is in records.
        number: Which warehouse of the project `run.sh` uses.
    """
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
        run_script(fields, sizes, model=checkpoint.name, reading=reading, number=number),
    )
    return files


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
