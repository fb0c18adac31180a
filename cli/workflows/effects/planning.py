"""A mixture from stored effects, checked by runs where asked, and its file: `dmix mix plan`."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dmix.cli.show.result import Result
from dmix.cli.workflows.effects.measured import speed_of
from dmix.cli.workflows.effects.plan import (
    PlannedMixture,
    most_changed,
    plan_mixture,
    promise_lines,
    write_mixture,
)
from dmix.cli.workflows.preflight import check_model
from dmix.cli.workflows.timing import ESTIMATED, estimate
from dmix.mixing.effects.settings import PlanRules
from dmix.training.model.settings import TrainingSettings, load_training
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.progress import Progress
from dmix.warehouse_schema.sizes import num_text


def plan_from_effects(
    warehouse: Warehouse,
    *,
    out: Path,
    dataset: str | None = None,
    probes: Sequence[str] = (),
    form: str = "dmix",
    environment: Path | None = None,
    samples: int | None = None,
    max_passes: int = 4,
    rules: PlanRules,
    check: bool = False,
    second_round: bool = False,
    model: str | None = None,
    training: Path | None = None,
    dry_run: bool = False,
    progress: Progress,
) -> Result:
    """Writes the mixture with the largest predicted gain; the result's value is a `PlannedMixture`.

    Args:
        warehouse: Where the effects are.
        out: Mixture file to write.
        dataset: Id or name; that of the effects, or the only one, when left out.
        probes: Names of effects, at most one by counts and one measured on a model; the newest of the
            dataset when left out.
        form: Trainer that will read the file: `dmix`, or another one of `mixture_files.FORMATS`.
        environment: Environment file with the weights and scales to use; that of the effects when left out.
        samples: Samples that the run will draw; all of the dataset's when left out.
        max_passes: Most passes through each domain.
        rules: Pull and caution.
        check: Test the plan with runs on `model`.
        second_round: Probe around the mixture that the check takes, and plan once more near it.
        model: Model of the check runs.
        training: Training file of the check runs.
        dry_run: Plan, and write and run nothing.
        progress: Receives lines for people.

    Raises:
        NotFoundError: If effects, dataset or model do not exist.
        InputError: If they do not belong together, or `out` is a folder.
    """
    warehouse.require()
    if out.is_dir():
        raise InputError(f"--out {out} is a folder; give a file in it, for example {out / 'mixture.yaml'}")
    if check != (model is not None):
        raise InputError("--check needs --model, and --model needs --check; give both or neither")
    if second_round and not check:
        raise InputError("--second-round needs --check; give both")

    def plan_at(chosen: PlanRules) -> PlannedMixture:
        return plan_mixture(
            warehouse,
            probes=probes,
            dataset=dataset,
            environment=environment,
            samples=samples,
            max_passes=max_passes,
            rules=chosen,
        )

    planned = plan_at(rules)
    if model is not None:
        check_model(warehouse, model)
        from dmix.training.run.request import resolve_model, with_rate

        settings = with_rate(load_training(training), resolve_model(model, warehouse))
        if dry_run:
            progress(_check_line(warehouse, planned, model, settings, second_round=second_round))
        else:
            from dmix.cli.workflows.effects.checked_plan import check_plan

            planned = check_plan(
                warehouse,
                plan_at,
                rules=rules,
                model=model,
                training=settings,
                second_round=second_round,
                progress=progress,
            )
    path = None if dry_run else write_mixture(warehouse, planned, out, form=form)
    result = Result({**_facts(planned), "file": None if path is None else str(path)}, planned)
    _add_table(result, planned)
    for line in promise_lines(planned):
        result.line(line)
    result.line(
        f"would write {out}"
        if path is None
        else f"wrote {path}. To train with this mixture: dmix train --controller "
        f"{shlex.quote(f'static:{path}')} --model MODEL"
    )
    return result


def _check_line(
    warehouse: Warehouse,
    planned: PlannedMixture,
    model: str,
    training: TrainingSettings,
    *,
    second_round: bool,
) -> str:
    """What the check runs would take, and those of a second round."""
    from dmix.cli.workflows.effects.checked_plan import RUNS, check_task, round_probes, round_task

    task = check_task(warehouse, planned, model=model, training=training)
    speed = speed_of(task.model, planned.manifest, training, dry_run=True)
    tokens = RUNS * task.tokens
    said = f"would check the plan with {num_text(RUNS, 'run')} of {num_text(task.tokens, 'token')}"
    if second_round:
        short = round_task(task)
        probes = round_probes(planned, planned.prediction, short)
        domains = sum(bool(probe.domains) for probe in probes)
        tokens += len(probes) * short.tokens
        said += (
            f", then probe {num_text(domains, 'domain')} with {num_text(len(probes), 'short run')} of "
            f"{num_text(short.tokens, 'token')} "
            f"(together as long as {tokens / task.tokens:.3g} runs)"
        )
    time = estimate(3600 * speed.hours(tokens))
    return f"{said}. Time on this machine without scoring: {time}. {ESTIMATED}"


def _facts(planned: PlannedMixture) -> dict[str, Any]:
    plan, space = planned.plan, planned.space
    low, high = plan.interval
    return {
        **plan.to_json(space.names),
        "dataset": planned.manifest.dataset,
        "samples": planned.total,
        "natural": plan.is_natural,
        "utility_low": low,
        "utility_high": high,
        "scales": planned.scales,
        "scales_from": planned.scales_from,
        "passes": {
            "/".join(space.names[i]): float(plan.passes_N[i]) for i in range(len(space)) if space.active_N[i]
        },
        "gap": plan.gap,
        "checked": planned.checked,
        "measured": None
        if planned.measured is None
        else {
            "objectives": dict(zip(plan.objectives, planned.measured.gain_D.tolist(), strict=True)),
            "utility": planned.measured.utility,
            "utility_stderr": planned.measured.utility_stderr,
        },
    }


def _add_table(result: Result, planned: PlannedMixture) -> None:
    plan = planned.plan
    result.table(
        ["field", "domain", "natural share", "planned share", "times natural", "passes"],
        [
            (
                *planned.space.names[i],
                float(plan.natural_N[i]),
                float(plan.mixture_N[i]),
                float(plan.mixture_N[i] / plan.natural_N[i]),
                float(plan.passes_N[i]),
            )
            for i in most_changed(planned)
        ],
    )
