"""A results folder whose answers are known: scores are sums of effects that the tests choose."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dmix.training.comparison.analysis.evidence import read_evidence
from dmix.training.comparison.units.store import SCHEMAS

OBJECTIVES = (
    {"name": "stories", "role": "general", "weight": 1, "scale": 0.1, "origin": "in"},
    {"name": "sums", "role": "target", "weight": 1, "scale": 0.2, "origin": "in"},
)
WATCHED = {"name": "riddles", "role": "target", "weight": 0, "scale": 0.2, "origin": "out"}


class Results:
    """Collects units and writes them the way the runner does."""

    def __init__(self, folder, *, objectives=OBJECTIVES, items=6, facts=None):
        self.folder, self.objectives, self.num_items = folder, objectives, items
        self.facts = facts or {}
        self.runs, self.steps, self.items = [], [], []
        self.rng = np.random.default_rng(0)

    def add(
        self,
        controller,
        *,
        stage="screening",
        part="controller",
        kind="controller",
        seed=0,
        base=0,
        agent_seed=0,
        gains=(0.0, 0.0),
        noise=0.0,
        status="done",
        steps=4,
        source_tokens=1_000,
        proxy_tokens=0,
        layers=("development",),
        near_duplicate=(),
        attempt=0,
        unit=None,
        **columns,
    ):
        """One unit whose items of objective d score base + gains[d], plus noise of their own."""
        unit = unit or f"{stage}-{controller}-{seed}-{base}-{agent_seed}"
        utilities = {}
        if status == "done":
            for layer in layers:
                utilities[f"utility_{layer}"] = self._score(unit, layer, gains, noise, near_duplicate)
            final = utilities.get("utility_development", utilities.get("utility_confirmation", 0.0))
            self.steps += [
                {"unit_id": unit, "step": step, "utility": final * step / 4} for step in range(steps + 1)
            ]
        self.runs.append(
            {
                "unit_id": unit,
                "setting": self.folder.name,
                "stage": stage,
                "part": part,
                "kind": kind,
                "controller": controller,
                "seed": seed,
                "base": base,
                "agent_seed": agent_seed,
                "steps": steps,
                "source_tokens": source_tokens,
                "target_tokens": 500,
                **utilities,
                "seconds": 3600.0,
                "proxy_tokens": proxy_tokens,
                "protocol_sha256": "f00d" * 16 if stage == "confirmation" else "",
                "status": status,
                "error": "out of memory" if status == "failed" else "",
                "commit": "abcdef0123456789",
                "started_at": f"2026-01-01T00:{attempt:02d}:{len(self.runs) % 60:02d}",
                "finished_at": "2026-01-02T00:00:00" if status == "done" else None,
                **columns,
            }
        )
        return self

    def _score(self, unit, layer, gains, noise, near_duplicate):
        """Adds the items of a layer and returns the utility that follows from them."""
        utility, total = 0.0, sum(objective["weight"] for objective in self.objectives)
        for objective, gain in zip(self.objectives, gains, strict=True):
            gains_I = gain + noise * self.rng.standard_normal(self.num_items)
            for index, value in enumerate(gains_I):
                base = -2.0 - 0.1 * index
                self.items.append(
                    {
                        "unit_id": unit,
                        "layer": layer,
                        "objective": objective["name"],
                        "item_id": f"{objective['name']}-{index}",
                        "near_duplicate": index in near_duplicate,
                        "score": base + value,
                        "base_score": base,
                    }
                )
            utility += objective["weight"] / total * gains_I.mean() / objective["scale"]
        return utility

    def write(self):
        """Writes the folder and returns it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        facts = {
            "space": [["source", "books"], ["target", "maths"]],
            "objectives": list(self.objectives),
            "machine": "two cores",
            "promised": True,
            **self.facts,
        }
        (self.folder / "setting.json").write_text(json.dumps(facts), encoding="utf-8")
        for name, schema in SCHEMAS.items():
            table = pa.Table.from_pylist(getattr(self, name), schema=schema)
            pq.write_table(table, self.folder / f"{name}.parquet")
        return self.folder


def results_below(tmp_path):
    """Makes empty settings in `results/` below a folder: the body of the fixture `make_results`."""

    def make(name="sums", **arguments):
        return Results(tmp_path / "results" / name, **arguments)

    return make


def three_controllers(make_results):
    """Three done controllers, some unfinished runs: the body of the fixture `evidence`."""
    results = make_results()
    for seed in range(3):
        shift = 0.001 * seed
        results.add("rl", seed=seed, gains=(-0.01 - shift, 0.4), source_tokens=2_000, proxy_tokens=9_000)
        results.add("natural", seed=seed, gains=(-0.02 + shift, 0.3), source_tokens=1_000)
        results.add("naive", seed=seed, gains=(-0.3, 0.5), source_tokens=1_500)
    results.add("natural", seed=3, status="failed").add("natural", seed=4, status="running")
    results.add("odm", status="failed")
    return read_evidence(results.write())
