"""Sizes of a run of `dmix init` that fit the machine, the text and the hours, and how long it takes.

Where a pass over the text fits the hours, `dmix train` chooses the samples itself, from the dataset. Only
where it does not, or the text is unknown, sizes are fixed here.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as defaults

from dmix.cli.workflows.timing import START_SECONDS, estimate
from dmix.etl.publishing.rejects import Reject
from dmix.mixing.space.budget import smallest_share
from dmix.training.run.request import DEFAULT_STEPS
from dmix.warehouse_schema.sizes import num_text, size_text

# A controller that reads scores needs some steps, however little time there is.
FEWEST_STEPS = 4
# Items of each objective that a run scores at least, however slow the model is.
FEWEST_SCORED = 10
# Tokens that a model scores in the time in which it trains on one.
READ_RATE = 3
# Bytes of UTF-8 text per token, English text under common tokenizers.
BYTES_PER_TOKEN = 4.0
# Seconds of scoring in a run that nobody needs to save.
_SCORING_SECONDS = 60
# Share of a run's time from which on its scoring is mentioned.
_WORTH_A_WORD = 0.2


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
    """Sizes of a run.

    Attributes:
        seq_len: Tokens of a sample.
        batch_size: Samples of a global batch.
        samples_per_step: Samples of a step, a multiple of the batch; about as many as `dmix train` will
            choose where the run reads all text.
        steps: Number of steps.
        tokens_per_second: Speed of training on idle cores, estimated; None where it is not known.
        scored_tokens: Tokens of the items that are scored before the first step and after each.
        limit: Items of each objective that are scored; None for all.
        reads_all: Whether a run passes over all text, so that `dmix train` chooses its samples.
    """

    seq_len: int
    batch_size: int
    samples_per_step: int
    steps: int
    tokens_per_second: float | None
    scored_tokens: int = 0
    limit: int | None = None
    reads_all: bool = False

    @property
    def samples(self) -> int:
        """Samples of one run."""
        return self.steps * self.samples_per_step

    @property
    def tokens(self) -> int:
        """Tokens of one run."""
        return self.samples * self.seq_len

    @property
    def minutes(self) -> float | None:
        """Minutes of one run on idle cores, without its start; scoring a token takes a third of training."""
        if self.tokens_per_second is None:
            return None
        return self.tokens / self.tokens_per_second / 60 + (self.scoring_minutes or 0)

    @property
    def seconds(self) -> float | None:
        """Seconds of one run on idle cores with its start."""
        return None if self.minutes is None else START_SECONDS + 60 * self.minutes

    @property
    def scoring_minutes(self) -> float | None:
        """Minutes of one run in which the model scores items."""
        if self.tokens_per_second is None:
            return None
        read = (self.steps + 1) * self.scored_tokens
        return read / READ_RATE / self.tokens_per_second / 60

    @property
    def flags(self) -> str:
        """Flags of `dmix train` that fix what it would not choose itself."""
        if not self.reads_all:
            return f" --steps {self.steps} --samples-per-step {self.samples_per_step}"
        return "" if self.steps == DEFAULT_STEPS else f" --steps {self.steps}"


def fitting_sizes(
    *,
    tokens: int,
    parameters: int | None,
    longest: int | None,
    hours: float,
    items: Sequence[tuple[int, float]] = (),
    bf16: bool = False,
    asked_steps: int | None = None,
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
        asked_steps: Steps that the user wants; None leaves them to this function.
    """
    from dmix.training.model.estimate.shapes import OPERATIONS
    from dmix.training.model.estimate.speed import training_speed

    speed = None if parameters is None else training_speed(OPERATIONS * parameters, bf16=bf16)
    small = parameters is not None and parameters < 50e6
    seq_len = min(256 if small else 512, longest or 512)
    steps, limit, budget = DEFAULT_STEPS if asked_steps is None else asked_steps, None, float(tokens)
    if speed is not None:
        room = speed * hours * 3600  # in tokens that are trained on
        share = min(room / 2, max(tokens, _SCORING_SECONDS * speed))
        steps, limit = _fitting_scores(items, share=share, asked_steps=asked_steps)
        budget = min(tokens, max(0, room - (steps + 1) * scored_tokens(items, limit) / READ_RATE))
    reads_all = budget >= tokens
    # the whole text takes the last batch, too, as `dmix train` counts
    up = math.ceil if reads_all else math.floor
    samples = max(1, up(budget / seq_len / steps))
    batch = 32
    while batch > 1 and samples < 2 * batch:
        batch //= 2
    return Sizes(
        seq_len=seq_len,
        batch_size=batch,
        samples_per_step=max(1, up(samples / batch)) * batch,
        steps=steps,
        tokens_per_second=speed,
        scored_tokens=round(scored_tokens(items, limit)),
        limit=limit,
        reads_all=reads_all,
    )


def _fitting_scores(
    items: Sequence[tuple[int, float]], *, share: float, asked_steps: int | None
) -> tuple[int, int | None]:
    """Steps of a run, and the items of each objective that it scores; None for all.

    Args:
        items: Number and tokens of the items of each objective.
        share: Time that scoring may take, in tokens that are trained on in that time.
        asked_steps: Steps that the user wants, however long their scores take; None for as many as fit.
    """
    from dmix.etl.reading.holdout import FEWEST_ITEMS

    steps, most = asked_steps or DEFAULT_STEPS, max((number for number, _ in items), default=0)

    def fits(limit: int) -> bool:
        return (steps + 1) * scored_tokens(items, limit) / READ_RATE <= share

    while asked_steps is None and steps > FEWEST_STEPS and not fits(FEWEST_ITEMS):
        steps //= 2
    limits = range(most, FEWEST_SCORED, -1)
    limit = next((limit for limit in limits if fits(limit)), FEWEST_SCORED)
    return steps, limit if limit < most else None


def scored_tokens(items: Sequence[tuple[int, float]], limit: int | None) -> float:
    """Tokens of the items that are scored.

    Args:
        items: Number and tokens of the items of each objective.
        limit: Items of each objective that are scored; None for all.
    """
    return sum(
        tokens if limit is None or limit >= number else tokens * limit / number for number, tokens in items
    )


def run_in_words(sizes: Sizes, fields: Mapping[str, FieldText]) -> str:
    """Sizes and time of a run, and which share of the text it reads."""
    tokens = num_text(sizes.tokens, "token")
    if sizes.reads_all:
        return (
            f"a run: {num_text(sizes.steps, 'step')} over all text, about {tokens} in samples of "
            f"{sizes.seq_len}{_time_of_run(sizes)}"
        )
    share = sizes.tokens / max(1, sum(text.tokens for text in fields.values()))
    return (
        f"a run: {num_text(sizes.steps, 'step')}, each with {num_text(sizes.samples_per_step, 'sample')} of "
        f"{num_text(sizes.seq_len, 'token')}; {tokens} in all ({share:.0%} of the text){_time_of_run(sizes)}"
    )


def small_domains(sizes: Sizes, fields: Mapping[str, FieldText]) -> str:
    """What a run that reads a part of the text means for small domains; empty if it reads all text.

    The rule is that of the note of `dmix train`.
    """
    if sizes.reads_all:
        return ""
    least = smallest_share(sizes.samples) * sum(text.size_bytes for text in fields.values())
    return (
        "--hours allows no pass over all text. Natural mixing reads little or nothing of a domain with less "
        f"than about {size_text(least)} of text. If most target domains are as small as that, 'dmix train' "
        "says so. To read all text, give more --hours"
    )


def _time_of_run(sizes: Sizes) -> str:
    """How long a run takes and how much of it is scoring; empty where this is not known."""
    if sizes.seconds is None:
        return ""
    share = 60 * (sizes.scoring_minutes or 0) / sizes.seconds
    words = f", of which scoring takes {share:.0%}" if share >= _WORTH_A_WORD else ""
    return f"; time: {estimate(sizes.seconds)}{words}"
