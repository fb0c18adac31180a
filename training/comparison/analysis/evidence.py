"""What a results folder holds.

A folder a setting, with `setting.json` and the tables `runs`, `steps` and `items`, each a Parquet
file or a folder of them. Nothing that was started gets lost on the way: a run without usable scores
is no point of a table, but stays in its accounts.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.dataset as ds

from dmix.training.comparison.analysis.panel import ObjectiveFacts, Panel, make_panel
from dmix.warehouse_schema.errors import NotFoundError

STAGES = ("headroom", "farm", "screening", "confirmation")


@dataclass(frozen=True, eq=False)
class Evidence:
    """One setting.

    Attributes:
        name: Folder name.
        facts: `setting.json`.
        objectives: Its objectives.
        runs: One row per unit, in order of start, with the state of its last attempt.
        failed_attempts: Attempts that failed and were made again.
        steps: One row per unit and step.
        items: One row per unit and item.
    """

    name: str
    facts: Mapping[str, Any]
    objectives: tuple[ObjectiveFacts, ...]
    runs: pd.DataFrame
    failed_attempts: int
    steps: pd.DataFrame
    items: pd.DataFrame
    _panels: dict[tuple[str, str], Panel | None] = field(default_factory=dict)

    @property
    def promised(self) -> bool:
        """Whether the protocol names the setting: only then does its hypothesis count among those tested."""
        return bool(self.facts["promised"])

    def stage(self, stage: str) -> pd.DataFrame:
        """The runs of a stage, whatever became of them."""
        return self.runs[self.runs.stage == stage]

    def done(self, stage: str) -> pd.DataFrame:
        """The finished runs of a stage."""
        return self.runs[(self.runs.stage == stage) & (self.runs.status == "done")]

    def panel(self, stage: str, layer: str) -> Panel | None:
        """Scores of a stage's finished runs on a layer; None if there are none."""
        key = (stage, layer)
        if key not in self._panels:
            items = self.items[self.items.layer == layer]
            self._panels[key] = make_panel(self.done(stage), items, objectives=self.objectives, layer=layer)
        return self._panels[key]


def read_evidence(folder: Path) -> Evidence:
    """The evidence of a setting's folder.

    Raises:
        NotFoundError: If `setting.json` or a table is missing.
        InputError: If runs of one stage were scored on different items.
    """
    if not (folder / "setting.json").is_file():
        raise NotFoundError(f"{folder} has no setting.json; give a folder that 'dmix bench quality' wrote")
    facts = json.loads((folder / "setting.json").read_text(encoding="utf-8"))
    objectives = tuple(
        ObjectiveFacts(
            name=entry["name"],
            role=entry["role"],
            weight=1.0 if entry.get("weight") is None else float(entry["weight"]),
            scale=1.0 if entry.get("scale") is None else float(entry["scale"]),
            in_origin=entry.get("origin", "in") == "in",
        )
        for entry in facts["objectives"]
    )
    attempts = _read_table(folder, "runs").sort_values("started_at", kind="stable")
    runs = last_attempts(attempts)
    return Evidence(
        name=folder.name,
        facts=facts,
        objectives=objectives,
        runs=runs,
        failed_attempts=int((attempts.status == "failed").sum() - (runs.status == "failed").sum()),
        steps=_read_table(folder, "steps"),
        items=_read_table(folder, "items"),
    )


def last_attempts(attempts: pd.DataFrame) -> pd.DataFrame:
    """One row per unit: its finished attempt, or else the last one that was started."""
    finished = attempts.assign(_done=attempts.status == "done")
    ordered = finished.sort_values(["_done", "started_at"], kind="stable")
    last = ordered.drop_duplicates("unit_id", keep="last").drop(columns="_done")
    return last.sort_values(["started_at", "unit_id"], kind="stable").reset_index(drop=True)


def utility_disagreement(evidence: Evidence, stage: str, layer: str) -> float:
    """Largest gap between the utility that runs stored and the one computed from their items."""
    panel = evidence.panel(stage, layer)
    if panel is None:
        return 0.0
    stored = evidence.done(stage).groupby(["controller", "seed", "base"])[f"utility_{layer}"].mean()
    gaps = [
        abs(panel.utility_CS[c, s] - stored.get((controller, *pair), np.nan))
        for c, controller in enumerate(panel.controllers)
        for s, pair in enumerate(panel.pairs)
    ]
    known = np.array(gaps)[np.isfinite(gaps)]
    return float(known.max()) if len(known) else 0.0


def _read_table(folder: Path, name: str) -> pd.DataFrame:
    path = next((p for p in (folder / f"{name}.parquet", folder / name) if p.exists()), None)
    if path is None:
        raise NotFoundError(
            f"{folder} has no table {name!r}; run 'dmix bench quality' with this folder first"
        )
    return ds.dataset(path, format="parquet").to_table().to_pandas()
