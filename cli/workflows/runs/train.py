"""A run from its start, or from its newest checkpoint: `dmix train`."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dmix.cli.show.notebook import run_monitor
from dmix.cli.show.result import Result
from dmix.cli.workflows.data.kept_out import check_kept_out
from dmix.cli.workflows.preflight import check_controller, controller_spec
from dmix.cli.workflows.runs.finish import finish_run
from dmix.cli.workflows.runs.plan import run_plan
from dmix.cli.workflows.runs.repeated import (
    changed_settings,
    has_started,
    is_finished,
    refuse_a_second_start,
    refuse_a_third_failure,
    run_summary,
)
from dmix.training.model.settings import TrainingSettings, check_loggers, check_lora, load_training
from dmix.training.run.request import (
    RunRequest,
    joined_ranks,
    new_run_folder,
    rank_here,
    run_config_file,
)
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.progress import Progress
from dmix.warehouse_schema.sizes import num_text

if TYPE_CHECKING:
    from dmix.training.run.config import RunConfig
    from dmix.training.run.summary import RunSummary


@joined_ranks()
def train_run(
    warehouse: Warehouse,
    *,
    model: str | None = None,
    environment: Path | None = None,
    agent: str | None = None,
    controller: str | None = None,
    run_id: str | None = None,
    resume: bool = False,
    back: bool = False,
    accept_changes: bool = False,
    trust_controller: bool = False,
    dataset: str | None = None,
    training: Path | None = None,
    loggers: Sequence[str] = (),
    request: RunRequest,
    ranks: int | None = None,
    allow_unscreened: bool = False,
    dry_run: bool = False,
    given: Mapping[str, Any] | None = None,
    progress: Progress,
) -> Result | None:
    """Starts a run, resumes it, or finds it finished; None on all ranks but the first.

    Args:
        warehouse: Where the dataset is and the run goes.
        model: Model file, checkpoint folder, model of the warehouse, or hub id.
        environment: Environment file.
        agent: Agent that steers the run.
        controller: What steers instead.
        run_id: Name of the run; made from the time when left out.
        resume: Go on with the run where its newest checkpoint is.
        back: Go on from the checkpoint before the newest.
        accept_changes: Go on although items or the code of the controller changed.
        trust_controller: Run the code of the run's `python:` controller.
        dataset: Id or name; may be left out when there is one.
        training: Training file.
        loggers: Where metrics go, in place of those of the training file.
        request: Steps, sizes, seed, guard.
        ranks: Ranks that a dry run plans the memory for.
        allow_unscreened: Go on with a warning where evaluation items were not kept out of the dataset.
        dry_run: Say what it would take, and train nothing.
        given: What the user gave of all that a resumed run takes from its configuration, by parameter;
            the arguments that differ from their defaults when left out.
        progress: Receives lines for people.

    Raises:
        NotFoundError: If something that is named does not exist.
        InputError: If arguments contradict each other, differ from those of a run that goes on, or cannot
            be used.
        LockHeldError: If another process trains the run.
        TrainingError: If the run failed twice in the same way, or fails.
    """
    _refuse_contradictions(run_id, resume=resume, back=back)
    if run_id is not None and not dry_run:
        refuse_a_second_start(warehouse, run_id)
    if run_id is not None and (resume or has_started(warehouse, run_id)):
        if given is None:
            given = _not_default(
                request,
                model=model,
                environment=environment,
                agent=agent,
                controller=controller,
                training=training,
            )
        return _continued(
            warehouse,
            run_id,
            given,
            loggers,
            asked=resume,
            dry_run=dry_run,
            ranks=ranks,
            progress=progress,
            how={"trust_controller": trust_controller, "back": back, "accept_changes": accept_changes},
        )
    config = _new_run(
        warehouse,
        request,
        model=model,
        environment=environment,
        agent=agent,
        controller=controller,
        training=training,
        loggers=loggers,
        dataset=dataset,
        run_id=run_id,
        allow_unscreened=allow_unscreened,
        progress=progress,
    )
    return _started(warehouse, config, dry_run=dry_run, ranks=ranks, progress=progress)


def _refuse_contradictions(run_id: str | None, *, resume: bool, back: bool) -> None:
    if resume and run_id is None:
        raise InputError("--resume needs a run; give it with --run")
    if back and not resume:
        raise InputError("--back needs --resume; give both")


def _started(
    warehouse: Warehouse, config: "RunConfig", *, dry_run: bool, ranks: int | None, progress: Progress
) -> Result | None:
    """A new run: planned, or trained to its end."""
    if dry_run:
        return run_plan(warehouse, config, ranks=ranks)
    from dmix.training.run.launch import start_run

    with run_monitor(title=f"run {config.run_id}") as monitor:
        summary = start_run(warehouse, config, progress=progress, monitor=monitor)
    return finish_run(warehouse, summary, progress=progress)


def _new_run(
    warehouse: Warehouse,
    request: RunRequest,
    *,
    model: str | None,
    environment: Path | None,
    agent: str | None,
    controller: str | None,
    training: Path | None,
    loggers: Sequence[str],
    dataset: str | None,
    run_id: str | None,
    allow_unscreened: bool,
    progress: Progress,
) -> "RunConfig":
    """The configuration of a run that has not started, all parts of which are there and screened."""
    if model is None:
        raise InputError("--model is missing; give a model file, a checkpoint folder or a hub id")
    spec = controller_spec(warehouse, agent, controller)
    if agent is not None and environment is None and spec != "plan":
        raise InputError("an agent needs scores; give the environment file with --environment")
    for named in (spec, request.shadow):
        if named is not None:
            check_controller(warehouse, named)
    if run_id is not None:
        new_run_folder(warehouse, run_id)
    from dmix.training.run.config import make_config

    config = make_config(
        warehouse,
        request,
        model=model,
        controller=spec,
        training=training_settings(training, loggers),
        environment=environment,
        dataset=dataset,
        run_id=run_id,
    )
    if environment is not None:
        check_kept_out(
            warehouse,
            config.dataset,
            environment,
            allow_unscreened=allow_unscreened,
            progress=progress if rank_here() == 0 else lambda line: None,
        )
    return config


def _continued(
    warehouse: Warehouse,
    run_id: str,
    given: Mapping[str, Any],
    loggers: Sequence[str],
    *,
    asked: bool,
    dry_run: bool,
    ranks: int | None,
    progress: Progress,
    how: Mapping[str, bool],
) -> Result | None:
    """A run that has started: finished already, planned, or trained to its end.

    Args:
        warehouse: Where the run is.
        run_id: The run.
        given: What the user gave of its configuration.
        loggers: Where metrics go from now on.
        asked: Whether it was `--resume` that goes on, not the same command again.
        dry_run: Say what it would take, and train nothing.
        ranks: Ranks that a dry run plans the memory for.
        progress: Receives lines for people.
        how: Flags of `resume_run`.
    """
    finished = not how["back"] and is_finished(warehouse, run_id)
    if finished and not asked and _items_fit(warehouse, run_id, given):
        changed_settings(given, warehouse, run_id, may_change=False)
        summary = run_summary(warehouse, run_id)
        if dry_run:
            return _finished(summary)
        return finish_run(warehouse, summary, trained=False, progress=progress)
    changes = _checked_resume(warehouse, run_id, given, loggers, asked=asked)
    if how["back"]:
        _check_back(warehouse, run_id)
    if dry_run:
        from dmix.training.run.resuming.differences import plan_resume

        if finished and (ended := _ended(warehouse, run_id, changes, accept=how["accept_changes"])):
            return _finished(ended)
        resumed, notes = plan_resume(warehouse, run_id, changes=changes, **how)
        return run_plan(warehouse, resumed, ranks=ranks, notes=notes)
    from dmix.training.run.launch import resume_run

    steps_before = run_summary(warehouse, run_id).steps if finished else None
    with run_monitor(title=f"run {run_id}") as monitor:
        summary = resume_run(
            warehouse, run_id, loggers=loggers, changes=changes, progress=progress, monitor=monitor, **how
        )
    return finish_run(warehouse, summary, trained=summary.steps != steps_before, progress=progress)


def _items_fit(warehouse: Warehouse, run_id: str, given: Mapping[str, Any]) -> bool:
    """Whether a finished run was scored on the items of the environment that is given again, if one is."""
    if "environment" not in given:
        return True
    from dmix.training.run.config import read_config
    from dmix.training.run.resuming.differences import has_its_items

    return has_its_items(read_config(warehouse, run_id), warehouse.run(run_id) / "events.jsonl")


def _ended(
    warehouse: Warehouse, run_id: str, changes: Mapping[str, Any], *, accept: bool
) -> "RunSummary | None":
    """The summary of a run that a resume would find ended; None where it would go on."""
    from dmix.training.run.config import read_config
    from dmix.training.run.resuming.ended import summary_if_ended

    return summary_if_ended(warehouse, read_config(warehouse, run_id), changes, accept=accept)


def _check_back(warehouse: Warehouse, run_id: str) -> None:
    """Refuses --back before anything is loaded, where a run has no checkpoint to go back to."""
    from dmix.training.run.resuming.checkpoint_files import checkpoints, found_checkpoint

    folder = warehouse.run(run_id)
    if not (folder / "events.jsonl").is_file():
        return  # a run that has not started is refused later
    if is_finished(warehouse, run_id) and not checkpoints(folder / "checkpoints"):
        raise InputError(
            f"run {run_id} is finished and kept only its model, so --back has no checkpoint; choose another "
            "--run to train again"
        )
    found_checkpoint(folder / "checkpoints", folder / "events.jsonl", back=True)


def _checked_resume(
    warehouse: Warehouse,
    run_id: str,
    given: Mapping[str, Any],
    loggers: Sequence[str],
    *,
    asked: bool,
) -> dict[str, Any]:
    """The settings that a run takes anew when it goes on, by `--resume` (`asked`) or the same command."""
    if not asked:
        changed_settings(given, warehouse, run_id, may_change=False)
        refuse_a_third_failure(warehouse, run_id)
    run_config_file(warehouse.require(), run_id)
    check_loggers(loggers)
    return changed_settings(given, warehouse, run_id, may_change=asked)


def _not_default(request: RunRequest, **values: Any) -> dict[str, Any]:
    """The arguments that are not None, and the fields of a request that are not as in `RunRequest()`."""
    default, asked = vars(RunRequest()), vars(request)
    changed = {name: value for name, value in asked.items() if value != default[name]}
    return {name: value for name, value in values.items() if value is not None} | changed


def _finished(summary: "RunSummary") -> Result:
    """What a dry run says of a run that has ended."""
    result = Result(summary.to_json(), summary)
    result.line(
        f"run {summary.run_id} is finished after {num_text(summary.steps, 'step')}; there is nothing to train"
    )
    return result


def training_settings(path: Path | None, loggers: Sequence[str]) -> TrainingSettings:
    """The training file with the loggers of the flag, whose packages are there."""
    settings = load_training(path)
    if loggers:
        settings = dataclasses.replace(settings, loggers=tuple(dict.fromkeys(loggers)))
    check_loggers(settings.loggers)
    if settings.lora is not None:
        check_lora()
    return settings
