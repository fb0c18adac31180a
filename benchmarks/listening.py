"""The table of listening: what an agent's own scores add to its plan on synthetic worlds (method §6 C, §9).

    python -m benchmarks.listening [--worlds 20] [--only PATTERN]

Worlds of the generator, 2 to 8 domains and 8 to 16 steps unless said otherwise, some for each hidden
departure. The law (headroom, price of repetition) and the noise of scores are known to the open loop, to
the agent and to the clairvoyant alike, as in problem C; effects are measured with noise. Every variant is
a remedy that was tried. One JSON file a variant; the page is made from them alone.
"""

import argparse
import dataclasses
import fnmatch
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from benchmarks.provenance import RESULTS, commit_of
from tests.mixing.testbed.listening import ARMS, Case, Outcome, closed, interval, outcomes
from tests.mixing.testbed.random_worlds import HIDDEN, World, random_world

from dmix.mixing.controllers.effect import EffectController
from dmix.mixing.effects.belief import BeliefSettings
from dmix.mixing.effects.effect_agent import ListeningRules
from dmix.mixing.effects.prediction import Coefficients, Prediction
from dmix.mixing.effects.settings import PlanRules
from dmix.warehouse_schema.files.layout import publish_bytes, publish_json

FOLDER = RESULTS / "quality" / "round-3" / "listening"
_COLUMNS = (
    *("hidden", "natural mixing", "without scores", "with scores", "clairvoyant"),
    *("closed by scores", "closed by another world's scores", "closed by constant scores"),
)
# Far from the seeds that settings were chosen on.
FIRST_SEED = 50_000
_BELIEF = BeliefSettings(drift=1.0, scale=0.7, direction=8.0, walk=0.02, minor=0.05)
_RULES = PlanRules(pull=0.0, caution=0.0)
# Contradictions are what the worlds are made of, so nothing falls back.
_LISTENING = ListeningRules(asking=0.7, asking_steps=3, inertia=0.0, contradiction=1e9)


@dataclass(frozen=True)
class Variant:
    """One agent on one kind of worlds.

    Attributes:
        name: In tables.
        what: What it changes, in words.
        belief, rules, listening: Settings of the agent.
        knows: Whether the price of repetition and the noise of scores are known.
        own_fit: Whether curvature is fitted in the world itself, as in the first measurement.
        labels, steps, forgetting: Of the worlds.
    """

    name: str
    what: str
    belief: BeliefSettings = _BELIEF
    rules: PlanRules = _RULES
    listening: ListeningRules = _LISTENING
    knows: bool = True
    own_fit: bool = False
    labels: int = 4
    steps: int = 16
    forgetting: bool = False


VARIANTS = (
    Variant("agent", "the effect agent"),
    Variant(
        "no-asking",
        "without changes of the mixture that only serve to learn effects",
        listening=dataclasses.replace(_LISTENING, asking=0.0),
    ),
    Variant(
        "one-belief",
        "without alternative hypotheses about the effects",
        belief=dataclasses.replace(_BELIEF, minor=1.0),
    ),
    Variant(
        "no-curvature", "gains add up without a limit", belief=dataclasses.replace(_BELIEF, headroom=np.inf)
    ),
    Variant(
        "first",
        "the first measurement: fitted curvature q, pull and caution, unknown cost of repetition",
        belief=BeliefSettings(drift=1.0, scale=0.7, direction=8.0, noise=0.2, headroom=np.inf, minor=1.0),
        rules=PlanRules(),
        listening=ListeningRules(),
        knows=False,
        own_fit=True,
    ),
    Variant("long", "24 to 40 steps", steps=40),
    Variant("many", "up to 50 domains, up to 40 steps", labels=25, steps=40),
    Variant("fading", "skills fade, and the agent does not know this", forgetting=True),
)


def measured(variant: Variant, *, worlds: int, first_seed: int = FIRST_SEED) -> list[Outcome]:
    """Runs all arms of a variant in its worlds."""
    cases = [case_of(variant, kind, first_seed + seed)[0] for kind in HIDDEN for seed in range(worlds)]
    found: list[Outcome] = []
    for start in range(0, len(cases), worlds):
        found += outcomes(cases[start : start + worlds])
    return found


def case_of(variant: Variant, hidden: str, seed: int) -> tuple[Case, Prediction]:
    """A world with the effect agent in it, and the prediction that it reads."""
    rng = np.random.default_rng([seed, 7])
    world = random_world(
        rng,
        hidden=hidden,
        forgetting=variant.forgetting,
        most_labels=variant.labels,
        most_steps=variant.steps,
    )
    prediction = _prediction(variant, world, rng)
    controller = _controller(variant, world, prediction)
    case = Case(world=world, policy=lambda h: controller.propose(h).mixture_N, noise_seed=seed)
    return case, prediction


def _prediction(variant: Variant, world: World, rng: np.random.Generator) -> Prediction:
    prediction, size = world.prediction(rng), len(world.roles)
    if variant.own_fit:
        return prediction
    linear = Coefficients(beta_D=np.zeros(size), gamma_D=np.ones(size), q_D=np.zeros(size))
    return dataclasses.replace(prediction, coefficients=linear)


def _controller(variant: Variant, world: World, prediction: Prediction) -> EffectController:
    belief = variant.belief
    if variant.knows:
        belief = dataclasses.replace(belief, repetition=world.repetition, free_passes=world.free_passes)
    return EffectController(
        prediction,
        rules=variant.rules,
        belief=belief,
        listening=variant.listening,
        noise_D=np.full(len(world.roles), world.true.noise) if variant.knows else None,
    )


def page(folder: Path) -> str:
    """All stored variants as Markdown."""
    lines = [
        "# Listening on synthetic worlds",
        "",
        "These tables show how much the effect agent gains from scores in synthetic worlds (simulated models"
        " with known effects). Each row is a kind of worlds: *hidden* is the property of the effects that the"
        " agent does not know.",
        "",
        "The first four columns are mean utilities: of natural mixing, of the agent without scores, of the"
        " agent with the run's scores, and of the clairvoyant schedule. This schedule is the best one for"
        " somebody who knows the world. The gap is the utility of the clairvoyant schedule minus that of the"
        " agent without scores. The last three columns are the shares of the gap that scores close, with 95%"
        " intervals over worlds. The scores are those of the run, those of another world, or constant.",
    ]
    for variant in VARIANTS:
        path = folder / f"{variant.name}.json"
        if not path.is_file():
            continue
        stored = json.loads(path.read_text())
        found = [Outcome(**row) for row in stored["outcomes"]]
        lines += [
            "",
            f"## `{variant.name}`: {variant.what}",
            "",
            f"{stored['worlds']} worlds per kind, commit {stored['commit'][:9]}, "
            f"{stored['processor_seconds']:.0f} s of processor time.",
            "",
            f"| {' | '.join(_COLUMNS)} |",
            "|" + "---|" * len(_COLUMNS),
            *(_row(kind, [o for o in found if kind in ("all", o.hidden)]) for kind in (*HIDDEN, "all")),
        ]
    return "\n".join(lines) + "\n"


def _row(kind: str, found: Sequence[Outcome]) -> str:
    def mean(values: Sequence[float]) -> str:
        return f"{float(np.mean(values)):.2f}"

    def share(arm: str) -> str:
        low, high = interval(found, arm)
        return f"{closed(found, arm):+.2f} [{low:+.2f}, {high:+.2f}]"

    means = [
        mean([o.natural for o in found]),
        mean([o.arms["silent"] for o in found]),
        mean([o.arms["heard"] for o in found]),
        mean([o.best for o in found]),
    ]
    return f"| {kind} | {' | '.join([*means, share('heard'), share('shuffled'), share('frozen')])} |"


def main() -> None:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--worlds", type=int, default=20, help="worlds for each hidden departure")
    parser.add_argument("--only", default="*", metavar="PATTERN", help="variants that match, with * and ?")
    parser.add_argument("--results", type=Path, default=FOLDER, help="folder of rows and page")
    given = parser.parse_args()
    for variant in VARIANTS:
        if not fnmatch.fnmatch(variant.name, given.only):
            continue
        started = time.process_time()
        found = measured(variant, worlds=given.worlds)
        publish_json(
            given.results / f"{variant.name}.json",
            {
                "variant": variant.name,
                "what": variant.what,
                "worlds": given.worlds,
                "first_seed": FIRST_SEED,
                "commit": commit_of(),
                "processor_seconds": time.process_time() - started,
                "outcomes": [asdict(outcome) for outcome in found],
            },
        )
        print(variant.name, *(f"{arm} {closed(found, arm):+.2f}" for arm in ARMS), flush=True)
    publish_bytes(given.results / "README.md", page(given.results).encode())


if __name__ == "__main__":
    main()
