"""The command that starts a run like another one, as a shell takes it."""

import shlex
from collections.abc import Collection
from pathlib import Path

from dmix.training.report.queries.run_facts import Run
from dmix.warehouse_schema.files.layout import Warehouse

# Settings of a run's configuration that are flags of `dmix train`.
_FLAGS = {
    "steps": "--steps",
    "step_samples": "--samples-per-step",
    "exhaustion": "--exhaustion",
    "max_passes": "--max-passes",
    "shuffle_block": "--shuffle-block",
}


def like(
    run: Run, *, warehouse: Path, name: str, controller: str | None = None, seed: int | None = None
) -> str:
    """The command of a run with the model, data, objectives and sizes of `run`.

    The configuration of a run serves as environment and as training file, so the command needs no file
    of the user.

    Args:
        run: The run to repeat.
        warehouse: Root of its warehouse.
        name: Name of the new run.
        controller: What steers it; by default, what steered `run`.
        seed: Its seed; by default, that of `run`.
    """
    config = run.config
    file = str(Warehouse(warehouse).run(run.run_id) / "config.yaml")
    words = ["--warehouse", str(warehouse), "--dataset", run.dataset]
    words += ["--model", _model(str(config.get("model", "")), warehouse)]
    words += ["--environment", file] if config.get("environment") else []
    words += ["--training", file]
    for setting, flag in _FLAGS.items():
        words += [flag, str(config[setting])] if config.get(setting) is not None else []
    words += _steering(run) if controller is None else ["--controller", controller]
    every = config.get("gradients_every") if controller is None else 0
    words += ["--gradients-every", str(every)] if every else []
    seed = config.get("seed") if seed is None else seed
    words += ["--seed", str(seed)] if seed is not None else []
    words += ["--allow-other-tokenizer"] if config.get("allow_other_tokenizer") else []
    return shlex.join(["dmix", "train", *words, "--run", name])


def free_name(wanted: str, taken: Collection[str]) -> str:
    """The wanted name of a run, or the first one with a number behind it that no run has."""
    names = (wanted if number == 1 else f"{wanted}-{number}" for number in range(1, len(taken) + 2))
    return next(name for name in names if name not in taken)


def _steering(run: Run) -> list[str]:
    kind, _, agent = run.controller.partition(":")
    flags = ["--agent", agent] if kind == "agent" else ["--controller", run.controller]
    guard = run.config.get("guard") or ("off" if kind == "agent" else "")
    shadow = run.config.get("shadow")
    return flags + (["--guard", str(guard)] if guard else []) + (["--shadow", str(shadow)] if shadow else [])


def _model(model: str, warehouse: Path) -> str:
    """A model of the warehouse by its name, which stays true when the warehouse moves."""
    path = Path(model)
    return path.name if path.parent == Path(warehouse) / "models" else model
