"""The units of the headroom study and of the farm.

The first static and random trajectories of the farm are the draws of the headroom study, so they
are run once and serve both.
"""

from collections.abc import Sequence

import numpy as np

from dmix.mixing.trajectories.feedback import feedback_file, write_feedback
from dmix.mixing.trajectories.store import read_set, read_trajectories
from dmix.training.comparison.data.prepare import base_name, farm_proxy
from dmix.training.comparison.data.study_paths import FARM
from dmix.training.comparison.data.tiers import DRAW_SEED, FRESH_SEED
from dmix.training.comparison.runs.study import Study, make_unit, mean_utilities, trajectory_unit
from dmix.training.comparison.units.store import Row, read_tables
from dmix.training.comparison.units.units import Unit
from dmix.training.farm.task import order_seed
from dmix.training.farm.variations import possible_variations, variation_of
from dmix.training.model.settings import ProxySettings
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.sizes import num_text

NATURAL = "natural"


def headroom_draws(study: Study) -> list[Unit]:
    """Static mixtures and random schedules, all on one seed: they are compared on equal samples."""
    chosen = _headroom_trajectories(study)
    return [
        trajectory_unit(
            study,
            trajectory,
            stage="headroom",
            part="draw",
            seed=DRAW_SEED,
            base=index % len(study.bases),
            trajectory=trajectory.trajectory_id,
        )
        for index, trajectory in enumerate(read_trajectories(study.paths.warehouse, FARM))
        if trajectory.trajectory_id in chosen
    ]


def farm_draws(study: Study) -> list[Unit]:
    """The other trajectories of the farm, each on samples of its own, some with a varied proxy.

    As `dmix mix collect` does it, only that those of the headroom study are left as they are.
    """
    chosen = _headroom_trajectories(study)
    proxy = farm_proxy(study.loaded, study.tier)
    space = read_set(study.paths.warehouse, FARM).domain_space
    return [
        trajectory_unit(
            study,
            trajectory,
            stage="farm",
            part="draw",
            variation=variation_of(
                trajectory.trajectory_id,
                share=study.tier.varied,
                seed=proxy.seed,
                possible=possible_variations(proxy, space=space),
            ),
            seed=order_seed(trajectory.trajectory_id, seed=study.loaded.settings.seed),
            base=index % len(study.bases),
            trajectory=trajectory.trajectory_id,
        )
        for index, trajectory in enumerate(read_trajectories(study.paths.warehouse, FARM))
        if trajectory.trajectory_id not in chosen
    ]


def noise_units(study: Study) -> list[Unit]:
    """Natural mixing on fresh seeds: what the seed alone does, and what the best are compared with."""
    return [
        make_unit(
            study,
            stage="headroom",
            part="noise",
            kind="controller",
            controller=NATURAL,
            spec=NATURAL,
            seed=FRESH_SEED + number,
            base=base,
        )
        for number in range(study.tier.noise_seeds)
        for base in study.bases
    ]


def rerun_units(study: Study) -> list[Unit]:
    """The best static mixtures and the best schedules of the draws, on fresh seeds."""
    by_id = {t.trajectory_id: t for t in read_trajectories(study.paths.warehouse, FARM)}
    best = [
        name for kind in ("static", "open_loop") for name in _best_draws(study, kind)[: study.tier.reruns]
    ]
    return [
        trajectory_unit(
            study, by_id[name], stage="headroom", part="rerun", seed=FRESH_SEED + number, base=base
        )
        for number in range(study.tier.rerun_seeds)
        for name in best
        for base in study.bases
    ]


def publish_farm(
    study: Study,
    *,
    set_name: str = FARM,
    proxy: ProxySettings | None = None,
    base: str | None = base_name(0),
) -> None:
    """Publishes the environment with the scales of a set, as `dmix mix collect` does at its end.

    Args:
        study: The study.
        set_name: The set of trajectories.
        proxy: Of the set; None for that of the farm.
        base: Base model that the proxies started from; None for random weights.

    Raises:
        InputError: If trajectories have no feedback yet.
    """
    from dmix.training.comparison.units.run_unit import feedback_environment
    from dmix.training.farm.farm import collect, plan_farm  # with torch, which a dry run does without

    farm = plan_farm(
        study.paths.warehouse,
        set_name,
        environment=feedback_environment(study.paths, set_name=set_name),
        proxy=proxy or farm_proxy(study.loaded, study.tier),
        base=base,
    )
    if farm.todo:
        raise InputError(
            f"{num_text(len(farm.todo), 'trajectory')} of set {set_name!r} without feedback; run the "
            "stage of this set again"
        )
    collect(study.paths.warehouse, farm, spark=None, progress=study.progress)


def restore_feedback(study: Study) -> None:
    """Writes the feedback of farm runs that only the results hold, as on a new machine.

    Where the whole farm is there, its scales are published, too.
    """
    warehouse = study.paths.warehouse
    draws = headroom_draws(study) + farm_draws(study)
    restore_units(study, draws, set_name=FARM)
    published = warehouse.feedback(FARM) / "environment.yaml"
    if published.is_file():
        return
    if all(feedback_file(warehouse, FARM, unit.trajectory).is_file() for unit in draws):
        publish_farm(study)


def restore_units(study: Study, units: Sequence[Unit], *, set_name: str) -> None:
    """Writes the feedback of a set's runs that only the results hold."""
    missing = {
        unit.unit_id: unit
        for unit in units
        if not feedback_file(study.paths.warehouse, set_name, unit.trajectory).is_file()
    }
    if not missing:
        return
    names = tuple(objective.name for objective in study.loaded.settings.in_layer("feedback"))
    warehouse = study.paths.warehouse
    tables = read_tables(study.paths)
    done = [row for row in tables["runs"] if row["unit_id"] in missing and row["status"] == "done"]
    steps: dict[str, list[Row]] = {row["unit_id"]: [] for row in done}
    for row in tables["steps"]:
        if row["unit_id"] in steps:
            steps[row["unit_id"]].append(row)
    start_N = read_set(warehouse, set_name).domain_space.start_N
    for row in done:
        unit, rows = missing[row["unit_id"]], steps[row["unit_id"]]
        write_feedback(
            warehouse,
            set_name=set_name,
            trajectory_id=unit.trajectory,
            objectives=names,
            scores_TD=np.array([row["base_scores"], *(step["scores"] for step in rows)]),
            variation=unit.variation,
            planned_TN=np.array([start_N, *(step["mixture"] for step in rows)]),
        )


def _headroom_trajectories(study: Study) -> set[str]:
    trajectories = read_trajectories(study.paths.warehouse, FARM)
    wanted = {"static": study.tier.static, "segments": study.tier.open_loop}
    return {
        name
        for kind, count in wanted.items()
        for name in [t.trajectory_id for t in trajectories if t.kind == kind][:count]
    }


def _best_draws(study: Study, kind: str) -> list[str]:
    """Trajectories of one kind of the headroom study, best first."""
    found = mean_utilities(study, stage="headroom", part="draw", kind=kind)
    return sorted(found, key=lambda name: -found[name])
