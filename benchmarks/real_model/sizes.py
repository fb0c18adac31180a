"""How much is done, what it is made of, and how long it takes."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.real_model.text import TextSize

from dmix.training.model.estimate.processor import cpu_has_bf16

SEQ_LEN = 128
BATCH = 4
ITEM_TOKENS = 130
# one core of a 2-core AMD EPYC: tokens trained and read in a second, by precision; written in fp32
TRAINS = {"fp32": 80, "bf16": 215}
READS = {"fp32": 300, "bf16": 850}
WRITES = 130
# seconds: a command that loads the model, and one update of 135M weights
START, UPDATE = 25, 0.4


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is done.

    Attributes:
        name: Of the file of rows.
        targets: Fields to learn.
        seeds: Runs a controller.
        estimators: What measures effects: counts, model-counts (relative to the model), gradient, probe.
        controllers: What steers, as `dmix train` names it, or `agent:NAME`.
        steps: Steps of a run.
        step_samples: Samples of a step.
        text: How much text there is.
        eval_items: Items of each local task.
        choice_tasks: Multiple-choice files of the reference data's `eval/`.
        answer_tasks: Those that ask for an answer.
        gradient_hours: Time that gradients may take.
        documents: Documents that the model writes, of at most `document_tokens` tokens.
        document_tokens: Length cap of a written document.
        kl_bound: How narrow the start state has to be, in nats.
    """

    name: str
    targets: tuple[str, ...]
    seeds: int
    estimators: tuple[str, ...]
    controllers: tuple[str, ...]
    steps: int
    step_samples: int
    text: TextSize
    eval_items: int
    choice_tasks: tuple[str, ...]
    answer_tasks: tuple[str, ...]
    gradient_hours: float
    documents: int
    document_tokens: int
    kl_bound: float

    @property
    def run_tokens(self) -> int:
        """Tokens of a run."""
        return self.steps * self.step_samples * SEQ_LEN

    @property
    def middle(self) -> int:
        """The step after which a run is judged on its way."""
        return self.steps // 2


SIZES = {
    "smallest": Size(
        name="smallest",
        targets=("math",),
        seeds=1,
        estimators=("counts", "model-counts"),
        controllers=("natural", "plan:counts"),
        steps=4,
        step_samples=8,
        text=TextSize(documents=60, feedback_items=5, judge_items=5, every_origin=False),
        eval_items=10,
        choice_tasks=("arc_easy_test",),
        answer_tasks=(),
        gradient_hours=0.1,
        documents=64,
        document_tokens=64,
        kl_bound=0.05,
    ),
    "table": Size(
        name="table",
        targets=("math", "code"),
        seeds=3,
        estimators=("counts", "model-counts", "gradient", "probe"),
        controllers=(
            "natural",
            "naive",
            "plan:counts",
            "plan:gradient",
            "agent:effect:counts",
            "agent:dmix-base-1",
        ),
        steps=6,
        step_samples=32,
        text=TextSize(documents=400, feedback_items=5, judge_items=20, every_origin=True),
        eval_items=50,
        choice_tasks=("arc_easy_test", "mmlu_redux", "boolq_valid"),
        answer_tasks=("gsm8k_test",),
        gradient_hours=0.5,
        documents=256,
        document_tokens=128,
        kl_bound=0.02,
    ),
}


def precision_here() -> str:
    """bf16 where the processor has it, else what dmix takes by itself: bf16 on a GPU, fp32 elsewhere."""
    return "bf16" if cpu_has_bf16() else "auto"


def recipe_of(stage: str, size: Size) -> str:
    """Digest of what a row is made of; rows of other recipes are made again, and a commit may go."""
    made_of: dict[str, Any] = {"stage": stage, "seq_len": SEQ_LEN, "batch": BATCH, **asdict(size)}
    # these only add stages
    for name in ("name", "targets", "seeds", "estimators", "controllers"):
        del made_of[name]
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:16]


def expected_minutes(size: Size, stages: Sequence[str], *, precision: str = "fp32") -> float:
    """Minutes of one core that stages take, from the speeds at the top of this file."""
    return sum(_seconds(size, stage, precision) for stage in stages) / 60


def _seconds(size: Size, stage: str, precision: str) -> float:
    kind, _, rest = stage.partition("/")
    written = size.documents * size.document_tokens / WRITES
    if kind == "run":
        updates = size.steps * size.step_samples / BATCH * UPDATE
        scored = (size.steps + 1) * 4 * size.text.feedback_items * ITEM_TOKENS
        return START + size.run_tokens / TRAINS[precision] + updates + scored / READS[precision]
    if kind == "judge":
        return START + 4 * size.text.judge_items * ITEM_TOKENS / READS["fp32"]
    if kind == "eval":
        choices = len(size.choice_tasks) * size.eval_items * 4 * 80 / READS["fp32"]
        return START + choices + len(size.answer_tasks) * size.eval_items * 256 / WRITES
    if kind == "effects":
        return _effect_seconds(size, rest, precision)
    if kind == "start-state":
        # 26 domains: 95% of chi squared with 25 degrees of freedom, over 2 n
        return START + 37.7 / (2 * size.kl_bound) * size.document_tokens / WRITES
    return START + written if kind == "synthesize" else START


def _effect_seconds(size: Size, rest: str, precision: str) -> float:
    if rest.endswith("gradient"):
        return START + 3600 * size.gradient_hours
    if rest.endswith("probe"):
        # four groups and as many controls, of four steps
        return START + 8 * (START + 4 * size.step_samples * SEQ_LEN / TRAINS[precision])
    return START
