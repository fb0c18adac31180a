"""A unit: one run of the comparison, with a name that follows from the recipe of its result.

The recipe is text, settings, seed and `FORMAT`. Hashes of weights are not part of it: another machine trains
the same recipe to other bytes. They stand beside the result as its provenance.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

from dmix.warehouse_schema.files.manifest_json import digest_of

FORMAT = 1
"""Goes up when a change of the code changes what a recipe comes to, beyond rounding."""


@dataclass(frozen=True, kw_only=True)
class Unit:
    """One run.

    Attributes:
        setting: Name of the setting.
        stage: Stage that asked for it first.
        part: `draw`, a trajectory of the farm; `rerun`, one of the best of them on a fresh seed;
            `noise`, natural mixing on a fresh seed; `controller`, a controller on trial.
        kind: What chooses the mixtures: `static`, `open_loop` or `controller`.
        controller: Name in tables.
        spec: Controller as `make_controller` takes it.
        seed: Seed of the order of samples and of training.
        base: Number of the base model.
        agent_seed: Seed of the agent's training; 0 where there is none.
        inputs: Hash of the recipe of text, items, base models, training and sizes.
        controller_inputs: Hash of the recipe of the controller.
        proxy_tokens: Tokens that were trained on to prepare the controller.
        trajectory: Trajectory of the farm whose feedback this run is; empty if it is none.
        variation: How its proxy departs from the usual one (`dmix.training.farm.variations`).
        protocol_sha256: Hash of the protocol file, of runs of the confirmation.
    """

    setting: str
    stage: str
    part: str
    kind: str
    controller: str
    spec: str
    seed: int
    base: int
    inputs: str
    controller_inputs: str = ""
    agent_seed: int = 0
    proxy_tokens: int = 0
    trajectory: str = ""
    variation: str = ""
    protocol_sha256: str = ""

    @property
    def unit_id(self) -> str:
        """Sixteen digits that differ when anything that decides the result does.

        Stage and part do not: a run that two stages ask for is made once.
        """
        deciding = [self.setting, self.spec, self.seed, self.base, self.inputs, self.controller_inputs]
        return digest_of([*deciding, self.variation])[:16]

    def to_json(self) -> dict[str, Any]:
        """Plain values, as the column `spec` of the results holds them."""
        return dataclasses.asdict(self)
