"""Stored rows of a small setting whose gains are linear in the mixture, written by hand."""

import json

import numpy as np

from dmix.mixing.space.domains import DomainSpace
from dmix.training.comparison.data.settings import ComparisonObjective, ComparisonSettings
from dmix.training.comparison.data.tiers import tier_named
from dmix.training.comparison.effects.design import mixture_of, probe_spec, setting_probes
from dmix.training.comparison.effects.judgement import Stored
from dmix.training.comparison.runs.protocol import ThirdProtocol
from dmix.training.comparison.yardstick.designs import grid_shares

BASES, TILTS, DESIGN = 4, 12, 64
OBJECTIVES = ("kept", "learnt")
SETTINGS = ComparisonSettings(
    name="s",
    protocol=3,
    bases=BASES,
    source=("a",),
    target=("b",),
    steps=16,
    samples_per_step=10,
    objectives=(
        ComparisonObjective(name="kept", role="general", path="p"),
        ComparisonObjective(name="learnt", role="target", path="p", origin="out"),
    ),
)
SPACE = DomainSpace(("x", "y"), np.array([40, 30, 20, 10]))
# Domain x of the target helps what is to be learnt, domain y of the source keeps what is to be kept.
EFFECT_ND = np.array([[0.2, 0.0], [1.0, 0.0], [-0.4, 2.0], [-0.8, 0.4]])
PROTOCOL = ThirdProtocol(
    settings=("s",),
    agent="counts-plan",
    references=("natural",),
    rivals=("grid", "regmix"),
    beside=("effect",),
    hypotheses="h",
    analysis="a",
)
TOKENS = {(objective, f"i{n}"): 10 for objective in OBJECTIVES for n in range(2)}


def stored(cells=None, *, seeds=2, checks=None):
    """The runs that rivals learn from, and runs of cells with a mixture of their own.

    Args:
        cells: Mixture (N,) of each cell.
        seeds: Seeds of each cell.
        checks: Mixture (N,) of each check run, on base model 0.
    """
    rows, items, steps = [], [], []

    def add(part, spec, *, controller, base, seed, mixture_N):
        unit = f"{part}-{controller}-{base}-{seed}"
        rng = np.random.default_rng([base, seed, len(rows)])
        gain_D = (mixture_N - SPACE.natural_N) @ EFFECT_ND + 0.002 * rng.standard_normal(2)
        rows.append(
            {
                "unit_id": unit,
                "part": part,
                "base": base,
                "controller": controller,
                "seed": seed,
                "status": "done",
                "source_tokens": int(1000 * mixture_N[~SPACE.target_N].sum()),
                "spec": json.dumps({"spec": spec, "inputs": "i"}),
            }
        )
        steps.append({"unit_id": unit, "step": 1, "mixture": mixture_N.tolist()})
        items.extend(
            {
                "unit_id": unit,
                "layer": layer,
                "objective": objective,
                "item_id": f"i{n}",
                "score": -3 - base + gain,
                "base_score": -3 - base,
            }
            for layer in ("feedback", "confirmation")
            for objective, gain in zip(OBJECTIVES, gain_D, strict=True)
            for n in range(2)
        )

    def add_trial(part, spec, **given):
        add(part, spec, mixture_N=mixture_of(spec, SETTINGS, SPACE), **given)

    for n in range(TILTS):
        for base in range(2):
            for seed in range(2):
                add_trial("tilt", f"tilt:{n}/{TILTS}", controller=f"tilt-{n:02d}", base=base, seed=seed)
    for n in range(TILTS, DESIGN):
        add_trial("design", f"design:{n}/{DESIGN}", controller=f"design-{n:02d}", base=n % BASES, seed=n)
    for share in grid_shares(SETTINGS, SPACE, count=5):
        for base in range(2):
            add_trial("grid", f"grid:{share}", controller=f"share-{share}", base=base, seed=0)
    for base in range(BASES):
        for n, probe in enumerate(setting_probes(SETTINGS, SPACE)):
            part = "probe" if probe.domains else "control"
            add_trial(part, probe_spec(probe, SPACE), controller=probe.probe_id, base=base, seed=n)
    for cell, mixture_N in (cells or {}).items():
        for base in range(BASES):
            for seed in range(PROTOCOL.first_seed, PROTOCOL.first_seed + seeds):
                add("cell", f"cell:{cell}", controller=cell, base=base, seed=seed, mixture_N=mixture_N)
    for name, mixture_N in (checks or {}).items():
        add("check", "check", controller=name, base=0, seed=0, mixture_N=mixture_N)
    return Stored(
        SETTINGS, tier_named("small"), SPACE, {"runs": rows, "items": items, "steps": steps}, (), ()
    )
