"""What a run came to, read from its event file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmix.warehouse_schema.catalog.run_facts import RunFold
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.events import read_complete_events


@dataclass(frozen=True, kw_only=True, eq=False)
class RunSummary:
    """Facts of a run so far. Shapes: t steps done, D objectives, N (field, domain) pairs.

    Attributes:
        finished: True once the last step is done.
        ending: Why the run ended and what it left undrawn, in words; empty before its end.
        steps: Steps done.
        objectives: Names of the D objectives; empty without an environment.
        feedback_TD: Scores in nats per token, shape (t + 1, D), NaN where one is missing; row 0 is
            the model before any step.
        planned_TN: Planned mixtures of steps 1 to t, shape (t, N).
        samples_N: Samples delivered in all, int64, shape (N,).
        target_N: True on the target field, shape (N,).
        tokens: Tokens delivered in all.
        loss: Mean training loss of the last step in nats per token; NaN before the first.
        chain: Chained digest of the samples, empty before the first step.
        seconds: Time of all steps.
    """

    run_id: str
    kind: str
    controller: str
    finished: bool
    ending: str
    steps: int
    objectives: tuple[str, ...]
    feedback_TD: NDArray[np.float64]
    planned_TN: NDArray[np.float64]
    samples_N: NDArray[np.int64]
    target_N: NDArray[np.bool_]
    tokens: int
    loss: float
    chain: str
    seconds: float

    @property
    def source_tokens(self) -> int:
        """Tokens of the source field that the run took."""
        samples = int(self.samples_N.sum())
        return self.tokens * int(self.samples_N[~self.target_N].sum()) // samples if samples else 0

    def to_json(self) -> dict[str, Any]:
        """The facts that fit on a screen."""
        return {
            "run_id": self.run_id,
            "kind": self.kind,
            "controller": self.controller,
            "finished": self.finished,
            "ending": self.ending,
            "steps": self.steps,
            "tokens": self.tokens,
            "source_tokens": self.source_tokens,
            "loss": self.loss,
            "scores_before": dict(zip(self.objectives, self.feedback_TD[0].tolist(), strict=True)),
            "scores_after": dict(zip(self.objectives, self.feedback_TD[-1].tolist(), strict=True)),
            "chain": self.chain,
            "seconds": self.seconds,
        }


def summarise(events_file: Path) -> RunSummary:
    """The summary of a run that has at least started.

    The last line of each step and kind counts, and of a resumed attempt only what it kept.

    Raises:
        InputError: If an event is damaged, or none says that the run started.
    """
    fold = RunFold.of(read_complete_events(events_file))
    if fold.start is None:
        raise InputError(f"{events_file} does not say that the run started; delete the folder of the run")
    started, done, scored = fold.start, fold.results, fold.scores
    ending = fold.end["detail"] if fold.end and fold.end["event"] == "run_done" else None
    steps = len(done)
    objectives = tuple(scored[0]["scores"]) if 0 in scored else ()
    rows = [
        [scored[step]["scores"][name] if step in scored else np.nan for name in objectives]
        for step in range(steps + 1)
    ]
    last = done.get(steps, {})
    size = len(started["space"])
    samples_N = sum(
        (np.array(event["delivered_samples_N"], np.int64) for event in done.values()),
        np.zeros(size, np.int64),
    )
    return RunSummary(
        run_id=started["run_id"],
        kind=started["kind"],
        controller=started["controller"],
        finished=ending is not None,
        ending=ending or "",
        steps=steps,
        objectives=objectives,
        feedback_TD=np.array(rows, np.float64).reshape(steps + 1, len(objectives)),
        planned_TN=np.array([fold.decisions[step]["planned_N"] for step in sorted(done)]).reshape(
            steps, size
        ),
        samples_N=samples_N,
        target_N=np.array([field == "target" for field, _ in started["space"]]),
        tokens=int(sum(sum(event["delivered_tokens_N"]) for event in done.values())),
        loss=float(last.get("loss", np.nan)),
        chain=str(last.get("chain", "")),
        seconds=float(sum(event["seconds"] for event in done.values())),
    )
