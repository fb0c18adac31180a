"""The stages of the comparison, in order, and the units that each asks for.

A stage is a sequence of batches; a later batch depends on what an earlier one found, as the runs of
the best mixtures on fresh seeds do.
"""

from collections.abc import Iterator
from dataclasses import replace

from dmix.mixing.effects.probes import MOST_GROUPS, controls_of
from dmix.mixing.space.domains import DomainSpace
from dmix.training.comparison.data.prepare import RUN_DATASET
from dmix.training.comparison.data.tiers import EFFECTS_SEED, WORLDS_SEED, YARDSTICK_SEED
from dmix.training.comparison.effects.design import setting_probes
from dmix.training.comparison.effects.world_plans import (
    AGENT,
    COUNTS_PLAN,
    FITTING,
    FRESH,
    HELD_OUT,
    LADDER,
    NATURAL,
    PLAN,
)
from dmix.training.comparison.runs.facts import space_of_facts
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
from dmix.training.comparison.runs.protocol import (
    THIRD_PROTOCOL_FILE,
    CommittedProtocol,
    ThirdProtocol,
    promised_cells,
)
from dmix.training.comparison.runs.rival_stages import (
    cell_units,
    online_units,
    planned_rivals,
    probe_units,
    rival_units,
)
from dmix.training.comparison.runs.rung_stage import planned_rungs, rung_batches
from dmix.training.comparison.runs.study import Study, make_unit
from dmix.training.comparison.runs.trials import (
    confirmation_units,
    make_agents,
    screening_runs,
    screening_units,
)
from dmix.training.comparison.units.queue import missing_units
from dmix.training.comparison.units.units import Unit
from dmix.warehouse_schema.errors import InputError, NotFoundError
from dmix.warehouse_schema.files.layout import read_json
from dmix.warehouse_schema.files.manifests import read_dataset_manifest


def planned_runs(study: Study) -> dict[str, int]:
    """Runs of each stage of the setting's protocol; farm runs that the headroom study makes count there."""
    tier, bases = study.tier, len(study.bases)
    if study.loaded.settings.world is not None:
        found = {"worlds": len(world_specs(study))}
        if study.loaded.settings.world == LADDER:
            found["rungs"] = planned_rungs(study, probes=planned_probes(study))
        return found
    if study.loaded.settings.protocol == 3:
        probes = planned_probes(study)
        return {
            "yardstick": tier.tilts * tier.tilt_seeds * tier.tilt_bases,
            "probes": probes * tier.effect_bases,
            "effects": (tier.fresh + tier.fresh_natural) * tier.effect_bases,
            **planned_rivals(study, probes=probes),
            "confirmation": planned_cells(study),
        }
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
        InputError: If an earlier stage is not done, or a stage that needs a protocol has none.
    """
    check_stage(study, stage)
    if stage == "yardstick":
        yield yardstick_units(study)
    elif stage == "worlds":
        yield world_units(study, protocol=protocol)
    elif stage == "rungs":
        yield from rung_batches(study, run_space(study))
    elif stage == "probes":
        yield probe_units(study, run_space(study))
    elif stage == "effects":
        yield effect_units(study)
    elif stage == "rivals":
        yield rival_units(study, run_space(study))
    elif stage == "online":
        yield online_units(study, run_space(study))
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
            raise InputError("the confirmation needs a committed protocol, but there is none")
        if isinstance(protocol.protocol, ThirdProtocol):
            yield cell_units(study, run_space(study), protocol)
            return
        units = confirmation_units(study, protocol)
        make_agents(study, missing_units(units, study.paths))
        yield units


def check_stage(study: Study, stage: str) -> None:
    """Raises `InputError` if the setting has no such stage."""
    known = planned_runs(study)
    if stage not in known:
        raise InputError(
            f"setting {study.loaded.settings.name!r} has other stages: {', '.join(known)} "
            f"(protocol {study.loaded.settings.protocol}); choose one of these with --stage"
        )


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


def planned_cells(study: Study) -> int:
    """Runs of the confirmation; 0 where no protocol names the setting."""
    file = study.loaded.file.parent / THIRD_PROTOCOL_FILE
    cells = promised_cells(file, study.loaded.settings.name)
    return cells * len(study.bases)


def effect_units(study: Study) -> list[Unit]:
    """Fresh mixtures on one seed, natural mixing on a few, on each base model whose effects are measured."""
    tier = study.tier
    specs = [("fresh", f"fresh-{n:02d}", f"fresh:{n}/{tier.fresh}") for n in range(tier.fresh)]
    # natural runs early: what a mixture gained is relative to them
    specs[2:2] = [("natural", "natural", "natural")] * tier.fresh_natural
    return [
        make_unit(
            study,
            stage="effects",
            part=part,
            kind="static",
            controller=name,
            spec=spec,
            seed=EFFECTS_SEED + number,
            base=base,
        )
        for number, (part, name, spec) in enumerate(specs)
        for base in range(tier.effect_bases)
    ]


def world_specs(study: Study) -> list[tuple[str, str, int]]:
    """Part, spec and seed of every run of a world.

    A fitting world has natural mixing, the plan and two fresh mixtures, one run each. All others have natural
    mixing, the plan from counts alone and the agent on a few seeds; one of the ladder also has the plan with
    priors.
    """
    kind = study.loaded.settings.world
    if kind == FITTING:
        fresh = [("fresh", f"fresh:{n}/{FRESH}", WORLDS_SEED) for n in range(FRESH)]
        return [("world", NATURAL, WORLDS_SEED), ("world", PLAN, WORLDS_SEED), *fresh]
    return [
        ("world", spec, WORLDS_SEED + seed)
        for seed in range(study.tier.world_seeds)
        for spec in (NATURAL, COUNTS_PLAN, *([PLAN] if kind == LADDER else []), AGENT)
    ]


def world_units(study: Study, *, protocol: CommittedProtocol | None) -> list[Unit]:
    """The runs of a world; those of a held-out one need the priors that fitting worlds taught.

    Raises:
        InputError: If nothing was promised about a held-out world.
    """
    settings = study.loaded.settings
    if settings.world == HELD_OUT and (protocol is None or settings.name not in protocol.protocol.settings):
        raise InputError(f"the protocol does not name the held-out world {settings.name!r}; add it")
    units = [
        make_unit(
            study,
            stage="worlds",
            part=part,
            kind="controller" if spec == AGENT else "static",
            controller=spec.partition("/")[0].replace(":", "-"),
            spec=spec if part == "fresh" else f"world:{spec}",
            seed=seed,
            base=settings.run_base,
        )
        for part, spec, seed in world_specs(study)
    ]
    if settings.world != HELD_OUT or protocol is None:
        return units
    return [replace(unit, protocol_sha256=protocol.sha256) for unit in units]


def run_space(study: Study) -> DomainSpace:
    """The domains of the runs."""
    return DomainSpace.of_dataset(read_dataset_manifest(study.paths.warehouse, RUN_DATASET))


def planned_probes(study: Study) -> int:
    """Probes and controls of one base model; the most there can be where the domains are not known yet."""
    try:
        return len(setting_probes(study.loaded.settings, run_space(study)))
    except NotFoundError:
        pass
    if study.paths.facts.is_file():
        space = space_of_facts(read_json(study.paths.facts))
        return len(setting_probes(study.loaded.settings, space))
    return MOST_GROUPS + controls_of(MOST_GROUPS)
