"""An evaluated run among the runs that it can be compared with, natural mixing first of all."""

from collections.abc import Sequence
from dataclasses import dataclass

from dmix.training.evaluation.judging import Change, Items, Judged
from dmix.training.evaluation.objective_tasks import ObjectiveTask
from dmix.training.evaluation.settings import EvaluationSettings
from dmix.training.report.queries import judged
from dmix.training.report.queries.run_facts import Run, read_run
from dmix.warehouse_schema.catalog.catalog import Catalog
from dmix.warehouse_schema.errors import CatalogError, DmixError, LockHeldError, StorageError
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.progress import Progress


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A run among the comparable runs of its warehouse.

    Attributes:
        warehouse: Where it is.
        run: The run.
        pool: The run and those that it can be compared with.
        objectives: What it is evaluated on.
    """

    warehouse: Warehouse
    run: Run
    pool: tuple[Run, ...]
    objectives: tuple[ObjectiveTask, ...]

    @property
    def last(self) -> int:
        """The last step of the run."""
        return self.run.steps_done

    @property
    def seen(self) -> bool:
        """Whether the controller of the run read items of the objectives."""
        digests = judged.seen_digests(self.warehouse, self.run)
        return any(task.sha256 in digests for task in self.objectives)

    def judge(self, task: ObjectiveTask, items: Items, steps: tuple[int, int], change: Change) -> Judged:
        """The change of an objective between two steps, judged."""
        return judged.judged_items(
            self.warehouse,
            self.run,
            self.pool,
            items=items,
            steps=steps,
            change=change,
            role=task.role,
            scale=task.scale,
        )

    def from_natural(self, limit: int | None) -> judged.FromNatural | None:
        """How the last model differs from that of natural mixing on the objectives."""
        only = [Items(task.name, task.sha256, limit) for task in self.objectives]
        return judged.from_natural(self.warehouse, self.run, self.pool, only=only)

    def natural_to_score(
        self, steps: Sequence[int | None], settings: EvaluationSettings
    ) -> tuple[Run, list[ObjectiveTask]] | None:
        """The run of natural mixing whose last model lacks scores, and the objectives; None if none does.

        Args:
            steps: Steps of the run that are evaluated; without the last one there is nothing to compare.
            settings: How.
        """
        natural = judged.natural_of(self.run, self.pool)
        if natural is None or self.last not in steps:
            return None
        seen = judged.seen_digests(self.warehouse, self.run) | judged.seen_digests(self.warehouse, natural)
        there = judged.last_items(self.warehouse, natural)
        missing = [
            task
            for task in self.objectives
            if task.sha256 not in seen and Items(task.name, task.sha256, settings.limit) not in there
        ]
        return (natural, missing) if missing else None

    def score_natural(
        self, steps: Sequence[int | None], settings: EvaluationSettings, *, progress: Progress
    ) -> None:
        """Scores the last model of natural mixing where that is missing; a line says why it cannot be."""
        found = self.natural_to_score(steps, settings)
        if found is None:
            return
        natural, missing = found
        from dmix.training.evaluation.benchmark import benchmark_models
        from dmix.training.evaluation.candidates import run_candidates

        progress(f"scoring run {natural.run_id} as well, for the difference from natural mixing")
        try:
            benchmark_models(
                run_candidates(self.warehouse, natural.run_id, [str(natural.steps_done)]),
                tasks=(),
                objectives=missing,
                settings=settings,
                keep=(self.warehouse, natural.run_id),
                progress=progress,
            )
        except DmixError as error:
            progress(f"there is no difference from natural mixing: {error.message}")


def read_standing(warehouse: Warehouse, run_id: str, objectives: Sequence[ObjectiveTask]) -> Standing | None:
    """The standing of a run; None where the catalog cannot be read now, or does not know the run."""
    try:
        with Catalog.open_reader(warehouse) as catalog:
            _, known = catalog.query("SELECT 1 FROM runs WHERE run_id = ?", [run_id])
            if not known:
                return None
            run = read_run(catalog, run_id)
            pool = judged.with_comparable(catalog, [run])
    except (LockHeldError, CatalogError, StorageError):
        return None
    return Standing(warehouse=warehouse, run=run, pool=tuple(pool), objectives=tuple(objectives))
