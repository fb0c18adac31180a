"""Units of the stages `rivals`, `online` and `confirmation` of the third protocol, and what they need.

`rivals` makes the runs that rivals learn from, `online` tries those that steer during the run, and
`confirmation` runs every cell that the protocol names on every base model, seed by seed, so that a queue that
is cut off leaves whole rows.
"""

import json
from dataclasses import replace

from dmix.mixing.controllers.mixmin import scored_tokens
from dmix.mixing.effects.store import read_effects
from dmix.mixing.space.domains import DomainSpace
from dmix.mixing.trajectories.objectives import load_environment
from dmix.training.comparison.data.prepare import RUN_DATASET
from dmix.training.comparison.data.tiers import PROBE_SEED, RIVALS_SEED
from dmix.training.comparison.effects.design import probe_spec, setting_probes
from dmix.training.comparison.effects.judgement import FEEDBACK, Stored, yardstick_scales
from dmix.training.comparison.effects.world_plans import COUNTS
from dmix.training.comparison.rivals.cells import ONLINE
from dmix.training.comparison.rivals.plans import CellPlans, plan_cells, read_plans, write_plans
from dmix.training.comparison.runs.protocol import CommittedProtocol, ThirdProtocol
from dmix.training.comparison.runs.study import Study, make_unit
from dmix.training.comparison.units.queue import missing_units
from dmix.training.comparison.units.store import read_tables
from dmix.training.comparison.units.units import Unit
from dmix.training.comparison.yardstick.designs import grid_shares
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.manifests import read_dataset_manifest
from dmix.warehouse_schema.sizes import num_text


def planned_rivals(study: Study, *, probes: int) -> dict[str, int]:
    """Runs of each of the three stages; `probes` is the number of probes of one base model."""
    tier, bases = study.tier, len(study.bases)
    return {
        "rivals": tier.design
        - tier.tilts
        + tier.grid * tier.tilt_bases
        + probes * max(0, bases - tier.effect_bases),
        "online": len(ONLINE) * tier.tilt_bases,
    }


def rival_units(study: Study, space: DomainSpace) -> list[Unit]:
    """What RegMix, the grid and MixMin learn from: design, target shares, and probes of every base model."""
    tier, bases = study.tier, len(study.bases)
    design = [
        make_unit(
            study,
            stage="rivals",
            part="design",
            kind="static",
            controller=f"design-{number:02d}",
            spec=f"design:{number}/{tier.design}",
            seed=RIVALS_SEED + number,
            base=number % bases,
        )
        for number in range(tier.tilts, tier.design)
    ]
    grid = [
        make_unit(
            study,
            stage="rivals",
            part="grid",
            kind="static",
            controller=f"share-{share}",
            spec=f"grid:{share}",
            seed=RIVALS_SEED,
            base=base,
        )
        for share in grid_shares(study.loaded.settings, space, count=tier.grid)
        for base in range(tier.tilt_bases)
    ]
    measured = probe_units(study, space)
    more = range(tier.effect_bases, bases)
    return [*grid, *design, *measured, *probe_units(study, space, stage="rivals", bases=more)]


def probe_units(
    study: Study, space: DomainSpace, *, stage: str = "probes", bases: range | None = None
) -> list[Unit]:
    """Controls and probes of some base models; of those whose effects are measured if left out."""
    return [
        make_unit(
            study,
            stage=stage,
            part="probe" if probe.domains else "control",
            kind="static",
            controller=probe.probe_id,
            spec=probe_spec(probe, space),
            seed=PROBE_SEED + number,
            base=base,
        )
        for base in (range(study.tier.effect_bases) if bases is None else bases)
        for number, probe in enumerate(setting_probes(study.loaded.settings, space))
    ]


def online_units(study: Study, space: DomainSpace) -> list[Unit]:
    """Each online rival once on the base models of the yardstick; under the yardstick's weights and scales.

    Raises:
        InputError: If the yardstick is not run, or admits no objective.
    """
    if read_plans(study.paths) is None:
        found = yardstick_scales(stored_rows(study, space), FEEDBACK)
        if found is None:
            raise InputError("the yardstick admits no objective; run --stage yardstick first")
        names = [objective.name for objective in study.loaded.settings.in_layer(FEEDBACK)]
        weights, scales = (dict(zip(names, of_D.tolist(), strict=True)) for of_D in found)
        nothing = CellPlans(
            inputs=study.inputs, protocol_sha256="", weights=weights, scales=scales, mixtures={}, facts={}
        )
        write_plans(study.paths, nothing)
    return [
        make_unit(
            study,
            stage="online",
            part="online",
            kind="controller",
            controller=name,
            spec=f"cell:{name}",
            seed=RIVALS_SEED,
            base=base,
        )
        for name in ONLINE
        for base in range(study.tier.tilt_bases)
    ]


def cell_units(study: Study, space: DomainSpace, committed: CommittedProtocol) -> list[Unit]:
    """The cells of the protocol on every base model; makes the plans of the constant ones.

    Raises:
        InputError: If the protocol does not name the setting, or the runs that rivals learn from are missing.
    """
    protocol, settings = committed.protocol, study.loaded.settings
    assert isinstance(protocol, ThirdProtocol)
    if settings.name not in protocol.settings:
        raise InputError(
            f"the protocol has the settings {', '.join(protocol.settings)}, but not {settings.name!r}; "
            "choose one of these"
        )
    left = len(missing_units(rival_units(study, space), study.paths))
    if left:
        raise InputError(
            f"rivals would learn from too little: {num_text(left, 'run')} of the stage rivals left; run "
            "--stage rivals first"
        )
    _make_plans(study, space, sha256=committed.sha256)
    return [
        replace(
            make_unit(
                study,
                stage="confirmation",
                part="cell",
                kind="controller",
                controller=cell,
                # another protocol makes other runs, since its plans may differ
                spec=f"cell:{cell}:{committed.sha256[:12]}",
                seed=protocol.first_seed + seed,
                base=base,
            ),
            protocol_sha256=committed.sha256,
        )
        for seed in range(protocol.seeds)
        for base in study.bases
        for cell in protocol.cells
    ]


def _make_plans(study: Study, space: DomainSpace, *, sha256: str) -> None:
    """Plans once for a protocol, so that a resumed confirmation follows what it began with."""
    known = read_plans(study.paths)
    if known is not None and (known.inputs, known.protocol_sha256) == (study.inputs, sha256):
        return
    warehouse = study.paths.warehouse
    tokens = scored_tokens(
        load_environment(study.paths.environment(FEEDBACK)),
        read_dataset_manifest(warehouse, RUN_DATASET),
        warehouse,
    )
    plans = plan_cells(
        stored_rows(study, space),
        inputs=study.inputs,
        protocol_sha256=sha256,
        counts=read_effects(warehouse, COUNTS),
        tokens=tokens,
        progress=study.progress,
    )
    write_plans(study.paths, plans)


def stored_rows(study: Study, space: DomainSpace) -> Stored:
    """The rows so far, of the recipe of today."""
    tables = read_tables(study.paths)
    current = [row for row in tables["runs"] if json.loads(row["spec"])["inputs"] == study.inputs]
    return Stored(study.loaded.settings, study.tier, space, {**tables, "runs": current}, (), ())
