"""Measures the effects of a setting of `dmix bench quality`: what its estimators promise of each run."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from dmix.cli.workflows.effects.counts import probe_counts
from dmix.cli.workflows.effects.gradients import probe_gradients
from dmix.cli.workflows.effects.measured import ProbeRequest

if TYPE_CHECKING:
    from dmix.mixing.effects.store import StoredEffects
    from dmix.mixing.space.domains import Vector
    from dmix.training.comparison.effects.promises import Measurement
    from dmix.training.comparison.runs.study import Study

COUNTS, RELATIVE, GRADIENT = "counts", "counts beside the model", "gradient"


def measure_effects(study: "Study") -> None:
    """Adds what is missing to the two tables of the setting's results; nothing is trained.

    Counts see no model, but each base model has a row of them, so that all estimators read alike.
    """
    from dmix.training.comparison.effects.design import mixture_of
    from dmix.training.comparison.effects.promises import (
        PROMISES,
        missing_specs,
        read_table,
        store_measurement,
    )
    from dmix.training.comparison.runs.rival_stages import probe_units
    from dmix.training.comparison.runs.stages import effect_units, run_space, yardstick_units

    space, settings = run_space(study), study.loaded.settings
    units = [*effect_units(study), *probe_units(study, space), *yardstick_units(study)]
    specs = {unit.spec for unit in units}
    mixtures = {spec: mixture_of(spec, settings, space) for spec in sorted(specs)}
    for base in range(study.tier.effect_bases):
        for estimator in (COUNTS, RELATIVE, GRADIENT):
            rows = read_table(study.paths.results, PROMISES)
            if not missing_specs(rows, inputs=study.inputs, base=base, estimator=estimator, specs=specs):
                continue
            study.progress(f"base model {base}: effects by {estimator}")
            store_measurement(study.paths.results, _measured(study, estimator, base), mixtures)


def count_domains(study: "Study") -> None:
    """Effects by counts, which the plan and some rivals of the confirmation start from."""
    _counts(study, COUNTS, 0)


def measure_world(study: "Study") -> None:
    """Measures a world by counts and gradients of its base model; keeps scales and promises.

    Raises:
        NotFoundError: If a held-out world has no priors yet.
    """
    from dmix.mixing.effects.store import read_effects
    from dmix.training.comparison.data.prepare import base_name
    from dmix.training.comparison.effects.design import mixture_of
    from dmix.training.comparison.effects.promises import store_measurement
    from dmix.training.comparison.effects.world_plans import (
        COUNTS_PLAN,
        PLAN,
        gradients_of,
        planned_mixture,
    )
    from dmix.training.comparison.runs.stages import run_space, world_specs
    from dmix.training.comparison.units.recipes import world_priors
    from dmix.training.comparison.units.run_unit import feedback_environment
    from dmix.warehouse_schema.files.layout import publish_json

    space, settings, priors = run_space(study), study.loaded.settings, world_priors(study.loaded)
    base, warehouse = settings.run_base, study.paths.warehouse
    found = [_measured(study, estimator, base) for estimator in (COUNTS, GRADIENT)]
    counts, gradients = (read_effects(warehouse, name) for name in (COUNTS, gradients_of(base_name(base))))
    scales = dict(zip(counts.effects.objectives, counts.effects.scales_D.tolist(), strict=True))
    publish_json(study.paths.scales, scales)
    weights_D = feedback_environment(study.paths).weights_D
    mixtures = {}
    for part, spec, _ in world_specs(study):
        if part == "fresh":
            mixtures[spec] = mixture_of(spec, settings, space)
        elif spec in (COUNTS_PLAN, PLAN):
            mixtures[f"world:{spec}"] = planned_mixture(
                spec,
                settings,
                space,
                counts=counts,
                gradients=gradients,
                priors=priors,
                weights_D=weights_D,
            )
    for measurement in found:
        store_measurement(study.paths.results, measurement, mixtures)


def _measured(study: "Study", estimator: str, base: int) -> "Measurement":
    from dmix.training.comparison.effects.promises import Measurement

    started = time.process_time()
    stored = _gradients(study, base) if estimator == GRADIENT else _counts(study, estimator, base)
    run_tokens = study.loaded.settings.run_samples * study.loaded.settings.seq_len
    # a forward pass is a third of forward and backward
    tokens = {
        COUNTS: 0.0,
        RELATIVE: stored.facts.get("scored_tokens", 0) / 3,
        GRADIENT: stored.facts.get("tokens", 0),
    }[estimator]
    return Measurement(
        inputs=study.inputs,
        base=base,
        estimator=estimator,
        effects=stored.effects,
        gains=_gains(stored),
        run_equivalents=tokens / run_tokens,
        processor_seconds=time.process_time() - started,
    )


def _gains(stored: "StoredEffects") -> "Callable[[Vector], Vector]":
    natural_N, counts = stored.effects.natural_N, stored.counts
    if counts is None:
        return lambda mixture_N: (mixture_N - natural_N) @ stored.effects.effect_ND
    at_natural_D = counts.values(natural_N)
    return lambda mixture_N: counts.values(mixture_N) - at_natural_D


def _counts(study: "Study", estimator: str, base: int) -> "StoredEffects":
    from dmix.training.comparison.data.prepare import RUN_DATASET, base_name

    relative = estimator == RELATIVE
    return probe_counts(
        study.paths.warehouse,
        environment=study.paths.environment("feedback"),
        dataset=RUN_DATASET,
        model=base_name(base) if relative else None,
        name=f"counts-{base_name(base)}" if relative else "counts",
        progress=study.progress,
    )


def _gradients(study: "Study", base: int) -> "StoredEffects":
    """Gradients over as much text as a run trains on, so that they cost at most a run."""
    from dmix.training.comparison.data.prepare import RUN_DATASET, base_name, run_training

    settings = study.loaded.settings
    request = ProbeRequest(
        environment=study.paths.environment("feedback"),
        model=base_name(base),
        training=run_training(study.loaded),
        dataset=RUN_DATASET,
        name=f"gradient-{base_name(base)}",
        tokens=settings.run_samples * settings.seq_len,
        samples=settings.run_samples,
    )
    return probe_gradients(study.paths.warehouse, request, progress=study.progress)
