"""A mixture from stored effects: `dmix mix plan`."""

import shlex
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dmix.warehouse_schema.errors import InputError, NotFoundError
from dmix.warehouse_schema.files.layout import Warehouse, publish_bytes
from dmix.warehouse_schema.files.manifests import DatasetManifest, read_dataset_manifest
from dmix.warehouse_schema.sizes import num_text

if TYPE_CHECKING:
    from dmix.mixing.effects.plan import Plan
    from dmix.mixing.effects.prediction import Prediction
    from dmix.mixing.effects.settings import PlanRules
    from dmix.mixing.effects.store import StoredEffects
    from dmix.mixing.space.domains import DomainSpace, Vector
    from dmix.mixing.trajectories.objectives import Environment

INTERVAL = (
    "The intervals cover only the error of the effects. They do not show whether your model behaves as the "
    "effects predict."
)
# Figures of docs/guide/which-text-helps.md and docs/guide/real-model.md.
COUNTS_GAINED = (
    " In our runs, models of 0.37 million weights gained 0.39 to 0.65 of the gain that counts predict; one "
    "of 135 million weights gained at most an eighth."
)


@dataclass(frozen=True, kw_only=True, eq=False)
class CheckedGain:
    """What the check run of a plan gained over natural mixing.

    Attributes:
        gain_D: Of each objective, nats per token.
        utility, utility_stderr: Of U.
    """

    gain_D: "Vector"
    utility: float
    utility_stderr: float


@dataclass(frozen=True, kw_only=True, eq=False)
class PlannedMixture:
    """A plan with what it was made for.

    Attributes:
        plan: The plan.
        sources: The effects that it was made from.
        prediction: What they predict together.
        manifest: Its dataset.
        space: Its domain space.
        total: Samples of the run.
        scales: Scale of each objective in nats per token, by name.
        scales_from: Where they come from, a few words.
        objectives: The environment whose weights count.
        max_passes: How often the run may draw a sample.
        checked: What check runs said; empty if there were none.
        measured: What the check run of this mixture gained; None if there was none.
    """

    plan: "Plan"
    sources: "tuple[StoredEffects, ...]"
    prediction: "Prediction"
    manifest: DatasetManifest
    space: "DomainSpace"
    total: int
    scales: dict[str, float]
    scales_from: str
    objectives: "Environment"
    max_passes: int
    checked: str = ""
    measured: CheckedGain | None = None


def plan_mixture(
    warehouse: Warehouse,
    *,
    probes: Sequence[str] = (),
    dataset: str | None = None,
    environment: Path | None = None,
    samples: int | None = None,
    max_passes: int = 4,
    rules: "PlanRules | None" = None,
) -> PlannedMixture:
    """The mixture that stored effects promise most of; nothing is written.

    Args:
        warehouse: Where the effects are.
        probes: Names of effects, at most one by counts and one measured on a model; the newest of the
            dataset when left out.
        dataset: Id or name; that of the effects, or the only one, when left out.
        environment: Environment file whose weights and scales count; that of the effects when left out.
        samples: Samples that the run will draw; as many as the dataset has when left out.
        max_passes: How often a sample may be drawn.
        rules: Pull and caution.

    Raises:
        NotFoundError: If there are no such effects.
        InputError: If effects, dataset and environment do not belong together.
    """
    from dmix.mixing.effects.plan import Supply, make_plan
    from dmix.mixing.effects.prediction import predict_stored
    from dmix.mixing.effects.store import read_effects
    from dmix.mixing.space.domains import DomainSpace
    from dmix.mixing.trajectories.objectives import load_environment

    given = None if environment is None else load_environment(environment)
    if probes:
        found = [read_effects(warehouse.require(), name) for name in probes]
        manifest = read_dataset_manifest(warehouse, dataset or found[0].effects.dataset)
    else:
        manifest = read_dataset_manifest(warehouse.require(), dataset)
        found = [_newest(warehouse, manifest.dataset, given)]
    space = DomainSpace.of_dataset(manifest)
    for stored in found:
        if stored.effects.dataset != manifest.dataset:
            raise InputError(
                f"effects {stored.name!r} are for dataset {stored.effects.dataset}, not for "
                f"{manifest.dataset}; run 'dmix mix probe --dataset {manifest.dataset}'"
            )
        _check_items(stored, given, file="FILE" if environment is None else shlex.quote(str(environment)))
    objectives = found[0].environment if given is None else given
    total = int(space.samples_N.sum()) if samples is None else samples
    if total < 1 or max_passes < 1:
        raise InputError(f"--samples is {total} and --max-passes {max_passes}; both must be at least 1")
    if total > max_passes * int(space.samples_N.sum()):
        raise InputError(
            f"the run draws {num_text(total, 'sample')}, but {num_text(max_passes, 'pass')} of "
            f"{num_text(int(space.samples_N.sum()), 'sample')} give fewer; lower --samples or raise "
            "--max-passes"
        )
    prediction = predict_stored(found)
    plan = make_plan(
        prediction,
        weights_D=objectives.weights_D,
        scales_D=objectives.scales_D,
        supply=Supply(total=total, samples_N=space.samples_N, max_passes=max_passes),
        rules=rules,
    )
    return PlannedMixture(
        plan=plan,
        sources=tuple(found),
        prediction=prediction,
        manifest=manifest,
        space=space,
        total=total,
        scales=dict(zip(objectives.names, objectives.scales_D.tolist(), strict=True)),
        scales_from="from the environment file"
        if objectives.scales
        else "1 nat per token (the environment file gives none)",
        objectives=objectives,
        max_passes=max_passes,
    )


def _newest(warehouse: Warehouse, dataset: str, given: "Environment | None") -> "StoredEffects":
    """The newest effects of a dataset; those for the given objectives come first."""
    from dmix.mixing.effects.store import environment_digest, newest_effects

    if given is not None:
        with suppress(NotFoundError):
            return newest_effects(warehouse, dataset=dataset, environment=environment_digest(given))
    return newest_effects(warehouse, dataset=dataset)


def _check_items(stored: "StoredEffects", given: "Environment | None", *, file: str) -> None:
    """Refuses effects for other objectives than the given ones, or than their own files hold by now.

    Raises:
        NotFoundError: If a file of the given objectives does not exist; a plan does without files of its own.
        InputError: If they differ.
    """
    from dmix.mixing.effects.store import check_objectives

    if given is not None:
        check_objectives(stored, given, file=file)
        return
    with suppress(NotFoundError):
        check_objectives(stored, stored.environment, file=file)


def write_mixture(warehouse: Warehouse, planned: PlannedMixture, out: Path, *, form: str) -> Path:
    """Writes a plan as a file for dmix or another trainer (`dmix.cli.workflows.effects.mixture_files`)."""
    from dmix.cli.workflows.effects.mixture_files import mixture_file

    content = mixture_file(
        planned.plan.mixture_N,
        form=form,
        warehouse=warehouse,
        manifest=planned.manifest,
        passes_N=planned.plan.passes_N,
        header=promise_lines(planned),
    )
    publish_bytes(out.absolute(), content.encode())
    return out.absolute()


def _by_counts_alone(planned: PlannedMixture) -> bool:
    """Whether the prediction is that of counts without a model, which no check run has fitted."""
    return all(
        stored.counts is not None and stored.counts.model_R is None and "fit" not in stored.facts
        for stored in planned.sources
    )


def promise_lines(planned: PlannedMixture) -> list[str]:
    """What a plan promises, in lines for people."""
    plan = planned.plan
    low, high = plan.interval
    lines = [
        f"This plan uses effects {', '.join(plan.sources)}, for {num_text(planned.total, 'sample')} of "
        "dataset "
        f"{planned.manifest.name or planned.manifest.dataset}.",
        plan.note,
        *([planned.checked] if planned.checked else []),
    ]
    lines.append(INTERVAL + (COUNTS_GAINED if _by_counts_alone(planned) else ""))
    got = planned.measured
    for o, name in enumerate(plan.objectives):
        gain, error = plan.gain_D[o], plan.stderr_D[o]
        beside = "" if got is None else f"; measured in the check run: {got.gain_D[o]:+.3f}"
        lines.append(
            f"{name}: predicted gain {gain:+.3f} nats per token over natural mixing (95% interval: "
            f"{gain - 1.96 * error:+.3f} to {gain + 1.96 * error:+.3f}){beside}"
        )
    measured = (
        ""
        if got is None
        else f"; measured in the check run: {got.utility:+.3f} (standard error {got.utility_stderr:.3f})"
    )
    lines.append(
        f"utility: {plan.utility:+.3f} (95% interval: {low:+.3f} to {high:+.3f}){measured}; scales: "
        f"{planned.scales_from}"
    )
    return lines


def most_changed(planned: PlannedMixture) -> np.ndarray:
    """Indices of the domains with samples, the largest planned share first."""
    active = np.flatnonzero(planned.space.active_N)
    order: np.ndarray = active[np.argsort(-planned.plan.mixture_N[active], kind="stable")]
    return order
