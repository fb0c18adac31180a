"""Stored rows of runs whose gains are linear in the mixture, written by hand."""

import json

import numpy as np

from dmix.mixing.space.domains import DomainSpace
from dmix.training.comparison.data.settings import ComparisonObjective, ComparisonSettings
from dmix.training.comparison.data.tiers import tier_named
from dmix.training.comparison.effects.design import mixture_of, probe_spec, setting_probes
from dmix.training.comparison.effects.judgement import (
    Stored,
)

OBJECTIVES = ("kept", "learnt")
SETTINGS = ComparisonSettings(
    name="s",
    protocol=3,
    source=("a",),
    target=("b",),
    steps=16,
    samples_per_step=10,
    objectives=(
        ComparisonObjective(name="kept", role="general", path="p"),
        ComparisonObjective(name="learnt", role="target", path="p"),
    ),
)
SPACE = DomainSpace(("x", "y"), np.array([40, 30, 20, 10]))
EFFECT_ND = np.array([[1.0, -1.0], [-0.2, -0.4], [-1.0, 2.0], [-1.4, 1.2]])
EFFECT_ND = EFFECT_ND - SPACE.natural_N @ EFFECT_ND


class LinearCounts:
    """Counts whose scores are linear in the mixture."""

    def __init__(self, effect_ND):
        self.effect_ND = effect_ND

    def values(self, mixture_N):
        return mixture_N @ self.effect_ND

    def gradient(self, mixture_N):
        return self.effect_ND


def run(part, spec, number):
    name = f"{part}-{number:02d}"
    return {
        "unit_id": name,
        "part": part,
        "base": 0,
        "controller": name,
        "seed": number,
        "status": "done",
        "spec": json.dumps({"spec": spec}),
    }


def stored(*, fresh=12, natural=3, probes=False, wrong=1.0):
    """Runs whose gains are linear in the mixture; counts promise `wrong` times the truth on `learnt`."""
    runs = [run("fresh", f"fresh:{n}/12", n) for n in range(fresh)]
    runs += [run("natural", "natural", n) for n in range(natural)]
    if probes:
        for n, probe in enumerate(setting_probes(SETTINGS, SPACE)):
            runs.append(run("probe" if probe.domains else "control", probe_spec(probe, SPACE), n))
    noise = {row["unit_id"]: 0.001 * (-1) ** row["seed"] for row in runs if row["part"] == "natural"}
    items, promises = [], []
    for row in runs:
        spec = json.loads(row["spec"])["spec"]
        gain_D = (mixture_of(spec, SETTINGS, SPACE) - SPACE.natural_N) @ EFFECT_ND
        layers = ("feedback",) if row["part"] in ("probe", "control") else ("feedback", "confirmation")
        for objective, gain, factor in zip(OBJECTIVES, gain_D, (1.0, wrong), strict=True):
            items += [
                {
                    "unit_id": row["unit_id"],
                    "layer": layer,
                    "objective": objective,
                    "score": -3 + gain + noise.get(row["unit_id"], 0.0),
                }
                for layer in layers
            ]
            promises.append(
                {
                    "estimator": "counts",
                    "base": 0,
                    "spec": spec,
                    "objective": objective,
                    "promised": factor * gain,
                }
            )
    effects = [{"estimator": "counts", "base": 0, "run_equivalents": 0.0}]
    tables = {"runs": runs, "items": items}
    return Stored(SETTINGS, tier_named("small"), SPACE, tables, promises, effects)
