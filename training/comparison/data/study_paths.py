"""Where the comparison keeps things: a work folder a setting, and what of it goes to the results."""

from dataclasses import dataclass
from pathlib import Path

from dmix.warehouse_schema.files.layout import Warehouse

FARM = "farm"
"""Name of the set of trajectories that controllers learn from."""

PAPER = "paper"
"""Name of the set of the stage `paper`."""


@dataclass(frozen=True)
class StudyPaths:
    """Folders of one setting.

    Attributes:
        work: Everything that can be made again: text, warehouse, finished units.
        results: What is kept: three tables, `setting.json`, base models.
    """

    work: Path
    results: Path

    @classmethod
    def of(cls, setting: str, *, work: Path, results: Path) -> "StudyPaths":
        return cls(work.absolute() / setting, results.absolute() / setting)

    def beside(self, setting: str) -> "StudyPaths":
        """The folders of another setting, beside these."""
        return StudyPaths.of(setting, work=self.work.parent, results=self.results.parent)

    @property
    def warehouse(self) -> Warehouse:
        return Warehouse.at(self.work / "warehouse")

    @property
    def text_record(self) -> Path:
        """What became of the text; written when all of it is there."""
        return self.work / "text.json"

    @property
    def units(self) -> Path:
        return self.work / "units"

    @property
    def lock(self) -> Path:
        return self.work / ".queue.lock"

    def text(self, corpus: str, field: str) -> Path:
        """Folder of the text of a field, for base models (`base`) or runs (`run`)."""
        return self.work / "text" / corpus / field

    def environment(self, layer: str) -> Path:
        return self.work / "items" / f"{layer}.yaml"

    def items(self, layer: str, objective: str) -> Path:
        return self.work / "items" / layer / f"{objective}.jsonl"

    @property
    def near_duplicates(self) -> Path:
        """Ids of flagged items, by layer and objective."""
        return self.work / "items" / "near_duplicates.json"

    def unit(self, unit_id: str) -> Path:
        return self.units / f"{unit_id}.parquet"

    def table(self, name: str) -> Path:
        """`runs`, `steps` or `items` of the results."""
        return self.results / f"{name}.parquet"

    @property
    def recipes(self) -> Path:
        """Names of today of units that were stored under other names."""
        return self.results / "recipes.json"

    @property
    def facts(self) -> Path:
        return self.results / "setting.json"

    @property
    def scales(self) -> Path:
        """Scale of each objective of a world."""
        return self.results / "scales.json"

    def kept_base(self, name: str) -> Path:
        return self.results / "bases" / name
