"""The stages of the comparison, in order, and the units that each asks for.

A stage is a sequence of batches; a later batch depends on what an earlier one found, as the runs of
the best mixtures on fresh seeds do.
"""

from collections.abc import Iterator

from dmix.training.comparison.data.tiers import YARDSTICK_SEED
from dmix.training.comparison.runs.headroom import (
    farm_draws,
    headroom_draws,
    noise_units,
    publish_farm,
    rerun_units,
)
from dmix.training.comparison.runs.paper import (
    make_paper_agents,
    paper_controllers,
    paper_draws,
    paper_runs,
)
from dmix.training.comparison.runs.protocol import CommittedProtocol
from dmix.training.comparison.runs.queue import missing_units
from dmix.training.comparison.runs.study import Study, make_unit
from dmix.training.comparison.runs.trials import (
    confirmation_units,
    make_agents,
    screening_runs,
    screening_units,
)
from dmix.training.comparison.runs.units import Unit
from dmix.warehouse_schema.errors import InputError


def planned_runs(study: Study) -> dict[str, int]:
    """Runs of each stage of the setting's protocol; farm runs that the headroom study makes count there."""
    tier, bases = study.tier, len(study.bases)
    if study.loaded.settings.protocol == 3:
        return {"yardstick": tier.tilts * tier.tilt_seeds * tier.tilt_bases}
    draws = tier.static + tier.open_loop
    farm = tier.inductive_paths * len(tier.top_k) + tier.random_paths
    return {
        "headroom": draws + (tier.noise_seeds + 2 * tier.reruns * tier.rerun_seeds) * bases,
        "farm": farm - draws,
        "screening": screening_runs(study),
        "paper": paper_runs(study),
        "confirmation": 2 * tier.confirmation_seeds * bases,
    }


def batches(study: Study, stage: str, *, protocol: CommittedProtocol | None) -> Iterator[list[Unit]]:
    """The units of a stage, batch by batch; ask for a batch only when the one before is done.

    Raises:
        InputError: If an earlier stage is not done, or the confirmation has no protocol.
    """
    third = study.loaded.settings.protocol == 3
    if (stage == "yardstick") != third:
        raise InputError(
            f"setting {study.loaded.settings.name!r} follows protocol {study.loaded.settings.protocol}, whose"
            f" stages are {', '.join(planned_runs(study))}; choose one of them by --stage"
        )
    if stage == "yardstick":
        yield yardstick_units(study)
    elif stage == "headroom":
        yield headroom_draws(study) + noise_units(study)
        yield rerun_units(study)
    elif stage == "farm":
        yield headroom_draws(study) + farm_draws(study)
        publish_farm(study)
    elif stage == "screening":
        units = screening_units(study)
        make_agents(study, missing_units(units, study.paths))
        yield units
    elif stage == "paper":
        yield paper_draws(study)
        units = paper_controllers(study)
        make_paper_agents(study, missing_units(units, study.paths))
        yield units
    else:
        if protocol is None:
            raise InputError("the confirmation needs a committed protocol, and none was given")
        units = confirmation_units(study, protocol)
        make_agents(study, missing_units(units, study.paths))
        yield units


def yardstick_units(study: Study) -> list[Unit]:
    """Every tilt on a few seeds and base models, mixture by mixture, so that a queue cut off leaves some."""
    return [
        make_unit(
            study,
            stage="yardstick",
            part="tilt",
            kind="static",
            controller=f"tilt-{number:02d}",
            spec=f"tilt:{number}/{study.tier.tilts}",
            seed=YARDSTICK_SEED + seed,
            base=base,
        )
        for number in range(study.tier.tilts)
        for base in range(study.tier.tilt_bases)
        for seed in range(study.tier.tilt_seeds)
    ]
