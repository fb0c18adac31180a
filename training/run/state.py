"""The state of a run between two batches, as plain JSON inside every checkpoint.

It has no trace of ranks, loader workers or files, so a run goes on with any number of them.
Of the past it holds what the controller looks back on, so that it is as large after step 10,000
as after step 100. Shapes: N (field, domain) pairs, T rows held, D objectives.
"""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dmix.mixing.delivery.digest import CHAIN_START, Ids, chain_digest, checked_chain
from dmix.mixing.delivery.ledger import StepLedger
from dmix.mixing.delivery.step_plan import MixerState
from dmix.mixing.space.domains import Vector
from dmix.mixing.space.history import RunEffects, TruncatedHistory
from dmix.mixing.space.plain_values import counts_of, floats_of
from dmix.warehouse_schema.sizes import num_text

_PARTS = (
    *("mixer", "mixtures", "feedback", "losses", "counts", "forgotten"),
    *("chain", "consumed", "asked", "finished"),
)


@dataclass
class RunState:
    """The state of a run.

    Attributes:
        mixer: Step, carries and cursors before the step under way.
        mixtures: Planned mixtures, rho_s first, then those of the last steps done.
        feedback: Scores in nats per token, of the model before any step first; NaN where missing.
        losses: Mean training loss by domain of those steps, nats per token; NaN without samples.
        counts: Samples by domain of those steps.
        truncated: What is left of earlier steps; None while there are none.
        chain: Chained digest of the steps done.
        consumed: What the step under way has consumed.
        asked: The mixture asked for the step under way; None between steps.
        finished: True after the last step.
        effects: What gradients of the model said first and last; empty in a run without them.
    """

    mixer: MixerState
    mixtures: list[list[float]]
    consumed: StepLedger
    feedback: list[list[float]] = field(default_factory=list)
    losses: list[list[float]] = field(default_factory=list)
    counts: list[list[int]] = field(default_factory=list)
    truncated: TruncatedHistory | None = None
    chain: str = CHAIN_START
    asked: list[float] | None = None
    finished: bool = False
    effects: list[RunEffects] = field(default_factory=list)

    @classmethod
    def at_start(cls, mixer: MixerState, start_N: Vector) -> "RunState":
        """The state before the first step."""
        return cls(mixer, [start_N.tolist()], StepLedger.empty(len(start_N)))

    @property
    def steps_done(self) -> int:
        """Number of finished steps."""
        return self.mixer.step

    def mixtures_TN(self) -> NDArray[np.float64]:
        return np.array(self.mixtures, np.float64)

    def feedback_TD(self) -> NDArray[np.float64]:
        return np.array(self.feedback, np.float64).reshape(len(self.feedback), -1)

    def losses_TN(self) -> NDArray[np.float64]:
        """As `History.losses_TN`: row 0 is the time before any training."""
        return np.array([[math.nan] * len(self.mixtures[0]), *self.losses], np.float64)

    def counts_TN(self) -> NDArray[np.int64]:
        """As `History.counts_TN`."""
        return np.array([[0] * len(self.mixtures[0]), *self.counts], np.int64)

    def note_effects(self, found: RunEffects) -> None:
        """Keeps the first effects of the run and the newest."""
        self.effects = [*self.effects[:1], found]

    def finish_step(self, planned_N: Vector, *, state_after: MixerState, digest: str) -> None:
        """Takes the step under way into the past; what it consumed stays until it has been written."""
        self.chain = chain_digest(self.chain, digest)
        self.mixtures.append(planned_N.tolist())
        self.losses.append(self.consumed.mean_loss_N.tolist())
        self.counts.append(self.consumed.samples_N.tolist())
        self.mixer, self.asked = state_after, None

    def forget(self, context: int | None) -> None:
        """Drops all but the first row and the last `context` ones; None keeps them all."""
        number = 0 if context is None else len(self.mixtures) - 1 - context
        if number <= 0:
            return
        feedback_TD = self.feedback_TD()
        before = self.truncated or TruncatedHistory.nothing(feedback_TD.shape[1])
        self.truncated = before.then(feedback_TD[1 : 1 + number], first_D=feedback_TD[0])
        for rows in (self.mixtures, self.feedback):
            del rows[1 : 1 + number]
        for rows_of_steps in (self.losses, self.counts):
            del rows_of_steps[:number]

    def to_json(self) -> str:
        return json.dumps(
            {
                "mixer": self.mixer.to_json(),
                "mixtures": self.mixtures,
                "feedback": self.feedback,
                "losses": self.losses,
                "counts": self.counts,
                "forgotten": None if self.truncated is None else self.truncated.to_json(),
                "chain": self.chain,
                "consumed": self.consumed.to_json(),
                "asked": self.asked,
                "finished": self.finished,
                "effects": [found.to_json() for found in self.effects],
            }
        )

    @classmethod
    def from_json(cls, text: str, *, planned_ids: Callable[[MixerState, Vector], Ids]) -> "RunState":
        """The state that `to_json` wrote.

        Args:
            text: JSON.
            planned_ids: The ids of the step that follows a state under an asked mixture; called
                if a step was under way.

        Raises:
            VerificationError: If that step would not start with the samples that were consumed.
            ValueError: If parts are missing, or cannot be those of one run by their types and shapes.
            InputError: If the mixer's part is so.
        """
        value = json.loads(text)
        missing = [name for name in _PARTS if name not in value] if isinstance(value, dict) else _PARTS
        if missing:
            raise ValueError(f"the state of the run lacks {', '.join(missing)}")
        mixer, asked = MixerState.from_json(value["mixer"]), value["asked"]
        size, ids = len(mixer.carry_N), np.zeros(0, np.int64)
        if asked is not None:
            asked_N = floats_of(asked, shape=(size,), what="the asked mixture")
            ids = planned_ids(mixer, asked_N)
        mixtures_TN = floats_of(value["mixtures"], shape=(None, size), what="mixtures")
        rows = len(mixtures_TN)
        feedback_TD = floats_of(value["feedback"], shape=(rows, None), what="scores", finite=False)
        # numpy knows no row without steps
        steps, of_steps = rows - 1, (rows - 1, size) if rows > 1 else (0,)
        floats_of(value["losses"], shape=of_steps, what="losses", finite=False)
        counts_of(value["counts"], shape=of_steps, what="samples of steps")
        truncated = value["forgotten"]
        if truncated is not None:
            truncated = TruncatedHistory.from_json(truncated)
            steps += truncated.steps
            if len(truncated.scores_D) != feedback_TD.shape[1]:
                raise ValueError("earlier steps have scores on other objectives")
        if steps != mixer.step:
            raise ValueError(
                f"it has the rows of {num_text(steps, 'step')}, but says that {mixer.step} are done"
            )
        consumed = StepLedger.from_json(value["consumed"], planned_ids=ids)
        if len(consumed.samples_N) != size:
            raise ValueError(
                f"the step under way has {num_text(len(consumed.samples_N), 'domain')}, not {size}"
            )
        effects = [RunEffects.from_json(found) for found in value.get("effects", [])]
        if len(effects) > 2 or any(found.effect_ND.shape[0] != size for found in effects):
            raise ValueError("effects are of other domains, or more than the first and the newest")
        return cls(
            mixer=mixer,
            mixtures=value["mixtures"],
            consumed=consumed,
            feedback=value["feedback"],
            losses=value["losses"],
            counts=value["counts"],
            truncated=truncated,
            chain=checked_chain(value["chain"]),
            asked=asked,
            finished=bool(value["finished"]),
            effects=effects,
        )
