"""Units of the stage `rungs`: two more steps of the ladder, in its worlds (method §8)."""

from collections.abc import Iterator

from dmix.mixing.effects.settings import CHECK_NATURAL, CHECK_PULLS
from dmix.mixing.effects.store import read_effects
from dmix.mixing.space.domains import DomainSpace
from dmix.training.comparison.data.tiers import RUNGS_SEED, WORLDS_SEED
from dmix.training.comparison.effects.rungs import CHECKED, PROBED, find_rungs, write_rungs
from dmix.training.comparison.effects.world_plans import COUNTS, NATURAL
from dmix.training.comparison.runs.rival_stages import probe_units, stored_rows
from dmix.training.comparison.runs.study import Study, make_unit
from dmix.training.comparison.units.recipes import world_priors
from dmix.training.comparison.units.units import Unit


def planned_rungs(study: Study, *, probes: int) -> int:
    """Check runs, probes, and the runs of both plans."""
    return len(CHECK_PULLS) + CHECK_NATURAL + probes + 2 * study.tier.world_seeds


def rung_batches(study: Study, space: DomainSpace) -> Iterator[list[Unit]]:
    """Check runs and probes first; then the plans that follow from them."""
    yield [*check_units(study), *_probes(study, space)]
    _write_plans(study, space)
    yield [
        make_unit(
            study,
            stage="rungs",
            part="rung",
            kind="static",
            controller=name,
            spec=f"rung:{name}",
            seed=WORLDS_SEED + seed,
            base=study.loaded.settings.run_base,
        )
        for seed in range(study.tier.world_seeds)
        for name in (CHECKED, PROBED)
    ]


def check_units(study: Study) -> list[Unit]:
    """A run of the plan from counts at each pull, and natural mixing on other seeds."""
    named = [(f"check-{factor:g}", f"check:{factor:g}", RUNGS_SEED) for factor in CHECK_PULLS]
    named += [(f"check-natural-{n}", f"check:{NATURAL}", RUNGS_SEED + n) for n in range(CHECK_NATURAL)]
    return [
        make_unit(
            study,
            stage="rungs",
            part="check",
            kind="static",
            controller=name,
            spec=spec,
            seed=seed,
            base=study.loaded.settings.run_base,
        )
        for name, spec, seed in named
    ]


def _probes(study: Study, space: DomainSpace) -> list[Unit]:
    base = study.loaded.settings.run_base
    return probe_units(study, space, stage="rungs", bases=range(base, base + 1))


def _write_plans(study: Study, space: DomainSpace) -> None:
    from dmix.training.comparison.units.run_unit import feedback_environment  # with torch

    found = find_rungs(
        stored_rows(study, space),
        study.loaded.settings.run_base,
        counts=read_effects(study.paths.warehouse, COUNTS),
        priors=world_priors(study.loaded),
        weights_D=feedback_environment(study.paths).weights_D,
    )
    write_rungs(study.paths.results, found)
