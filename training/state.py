"""The state of a run between two batches, as plain JSON inside every checkpoint.

It has no trace of ranks, loader workers or files, so a run goes on with any number of them.
Shapes: N (field, domain) pairs, t steps done, D objectives.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dmix.mixing.digest import CHAIN_START, Ids
from dmix.mixing.domains import Vector
from dmix.mixing.plan import MixerState
from dmix.training.consumed import Consumed


@dataclass
class RunState:
    """Where a run stands.

    Attributes:
        mixer: Step, carries and cursors before the step under way.
        mixtures: Planned mixtures, rho_s first; t + 1 rows of N after t steps.
        feedback: Scores in nats a token, of the model before any step first; NaN where missing.
        chain: Chained digest of the steps done.
        consumed: What the step under way has consumed.
        asked: The mixture asked for the step under way; None between steps.
        finished: True after the last step.
    """

    mixer: MixerState
    mixtures: list[list[float]]
    consumed: Consumed
    feedback: list[list[float]] = field(default_factory=list)
    chain: str = CHAIN_START
    asked: list[float] | None = None
    finished: bool = False

    @classmethod
    def at_start(cls, mixer: MixerState, start_N: Vector) -> "RunState":
        """The state before the first step."""
        return cls(mixer, [start_N.tolist()], Consumed.nothing(len(start_N)))

    @property
    def steps_done(self) -> int:
        """Number of finished steps."""
        return len(self.mixtures) - 1

    def mixtures_TN(self) -> NDArray[np.float64]:
        return np.array(self.mixtures, np.float64)

    def feedback_TD(self) -> NDArray[np.float64]:
        return np.array(self.feedback, np.float64).reshape(len(self.feedback), -1)

    def to_json(self) -> str:
        return json.dumps(
            {
                "mixer": self.mixer.to_json(),
                "mixtures": self.mixtures,
                "feedback": self.feedback,
                "chain": self.chain,
                "consumed": self.consumed.to_json(),
                "asked": self.asked,
                "finished": self.finished,
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
        """
        value = json.loads(text)
        mixer, asked = MixerState.from_json(value["mixer"]), value["asked"]
        ids = np.zeros(0, np.int64) if asked is None else planned_ids(mixer, np.array(asked))
        return cls(
            mixer,
            value["mixtures"],
            Consumed.from_json(value["consumed"], planned_ids=ids),
            value["feedback"],
            value["chain"],
            asked,
            value["finished"],
        )
