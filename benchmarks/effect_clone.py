"""The clone of the effect agent against its teacher on held-out synthetic worlds (method §8, §9).

    python -m benchmarks.effect_clone [--teach 100] [--worlds 10]

A set agent that reads effects imitates the effect agent in worlds of all hidden departures, then meets
worlds of other seeds. Its rows stand beside those of `benchmarks.listening`.
"""

import argparse
import dataclasses
import time
from pathlib import Path

import numpy as np
from benchmarks.listening import FIRST_SEED, FOLDER, VARIANTS, case_of
from benchmarks.provenance import commit_of
from tests.mixing.testbed.effect_clone import clone_effect_agent, cloned_policy, taught_by
from tests.mixing.testbed.listening import Outcome, closed, outcomes
from tests.mixing.testbed.random_worlds import HIDDEN

from dmix.mixing.agent.set_agent import SetAgent
from dmix.mixing.agent.set_encoder import SetAgentConfig
from dmix.mixing.learning.settings.sft import SftSettings
from dmix.warehouse_schema.files.layout import publish_json

TEACHING_SEED = 70_000
_AGENT = VARIANTS[0]


def trained(*, teach: int, runs: int, settings: SftSettings) -> SetAgent:
    """A set agent that imitates the effect agent in so many worlds."""
    taught = []
    for number in range(teach):
        case, prediction = case_of(_AGENT, HIDDEN[number % len(HIDDEN)], TEACHING_SEED + number)
        rng = np.random.default_rng(number)
        taught.append(taught_by(case.world, case.policy, prediction, runs=runs, rng=rng))
    hidden_size, feedforward = settings.widths
    agent = SetAgent(
        SetAgentConfig(
            labels=(),
            objectives=("general", "target"),
            scales=(1.0, 1.0),
            hidden_size=hidden_size,
            feedforward=feedforward,
            domain_width=settings.domain_width,
            effects=True,
        )
    )
    clone_effect_agent(agent, taught, settings=settings, progress=print)
    return agent


def measured(agent: SetAgent, *, worlds: int) -> tuple[list[Outcome], list[Outcome]]:
    """Outcomes of the clone and of its teacher in the same held-out worlds."""
    pairs = [case_of(_AGENT, kind, FIRST_SEED + seed) for kind in HIDDEN for seed in range(worlds)]
    teacher = [case for case, _ in pairs]
    clone = [dataclasses.replace(case, policy=cloned_policy(agent, found)) for case, found in pairs]
    arms = ("heard", "silent", "shuffled")
    return outcomes(clone, arms=("heard", "shuffled")), outcomes(teacher, arms=arms)


def main() -> None:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--teach", type=int, default=100, help="worlds that teach")
    parser.add_argument("--runs", type=int, default=2, help="runs in each of them")
    parser.add_argument("--worlds", type=int, default=10, help="held-out worlds of each kind")
    parser.add_argument("--epochs", type=int, default=40, help="passes over what is taught")
    parser.add_argument("--results", type=Path, default=FOLDER, help="folder of the rows")
    given = parser.parse_args()
    started = time.process_time()
    settings = SftSettings(architecture="set", epochs=given.epochs, hidden_size=64, feedforward=128)
    clone, teacher = measured(
        trained(teach=given.teach, runs=given.runs, settings=settings), worlds=given.worlds
    )
    for own, taught in zip(clone, teacher, strict=True):
        own.arms["silent"] = taught.arms["silent"]
    rows = {
        kind: {
            name: {
                "utility": float(np.mean([o.arms["heard"] for o in found])),
                "closed": closed(found, "heard"),
                "shuffled": closed(found, "shuffled"),
            }
            for name, all_found in (("clone", clone), ("effect agent", teacher))
            for found in [[o for o in all_found if kind in ("all", o.hidden)]]
        }
        | {
            "open loop": float(np.mean([o.arms["silent"] for o in teacher if kind in ("all", o.hidden)])),
            "natural": float(np.mean([o.natural for o in teacher if kind in ("all", o.hidden)])),
        }
        for kind in (*HIDDEN, "all")
    }
    publish_json(
        given.results / "clone.json",
        {
            "teach": given.teach,
            "runs": given.runs,
            "worlds": given.worlds,
            "commit": commit_of(),
            "processor_seconds": time.process_time() - started,
            "rows": rows,
        },
    )
    print(rows)


if __name__ == "__main__":
    main()
