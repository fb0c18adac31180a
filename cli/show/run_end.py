"""What comes after a run: what its changes amount to, where the model is, and what to compare it with."""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dmix.cli.show.output import Coloured
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse

if TYPE_CHECKING:
    from dmix.mixing.trajectories.objectives import Environment
    from dmix.training.evaluation.verdicts import Group, Verdict
    from dmix.training.report.queries.run_facts import Run

# Terminal styles of verdicts, by name of their colour.
STYLES = {
    "bad-3": "bold red",
    "bad-2": "red",
    "bad-1": "yellow",
    "unchanged": "dim",
    "good-1": "cyan",
    "good-2": "green",
    "good-3": "bold green",
}


@dataclass(frozen=True, kw_only=True)
class Aftermath:
    """What is known of a finished run beside its scores.

    Attributes:
        verdicts: By objective.
        utility: U of the run; None where it cannot be known.
        lines: What comes next, for people.
    """

    verdicts: "Mapping[str, Verdict]"
    utility: float | None
    lines: tuple[str, ...]

    def word(self, objective: str) -> str:
        """The verdict on an objective in its colour; empty without one."""
        found = self.verdicts.get(objective)
        return "" if found is None else Coloured(found.word, STYLES[found.colour])


def aftermath(warehouse: Warehouse, run_id: str, *, kind: str) -> Aftermath:
    """What a finished run that the catalog knows came to.

    Args:
        warehouse: Where it is.
        run_id: The run.
        kind: Its kind; a base model has nothing to be compared with.

    Raises:
        LockHeldError, CatalogError: If the catalog cannot be read now.
    """
    from dmix.training.evaluation.judging import judged_sentence
    from dmix.training.evaluation.verdicts import RULE
    from dmix.training.report.queries.judged import (
        comparable,
        from_natural,
        groups_of,
        run_judged,
        run_verdicts,
        with_comparable,
    )
    from dmix.training.report.queries.run_facts import read_run
    from dmix.training.report.queries.series import environment_of
    from dmix.warehouse_schema.catalog.catalog import Catalog

    model = warehouse.run(run_id) / "model"
    lines = [*model_lines(model)] if model.is_dir() else []
    if kind == "base":
        return Aftermath(verdicts={}, utility=None, lines=tuple(lines))
    with Catalog.open_reader(warehouse) as catalog:
        run = read_run(catalog, run_id)
        pool = with_comparable(catalog, [run])
    others = [other for other in comparable(run, pool) if other.run_id != run_id]
    own = next(iter(groups_of([run])), None)
    if own is None:
        return Aftermath(verdicts={}, utility=None, lines=tuple(lines))
    verdicts = {
        name: found for role in ("target", "general") for name, found in run_verdicts(run, role, pool).items()
    }
    utility = own.utilities[0] if own.utilities else None
    if utility is not None:
        lines.append(
            f"U {utility:+.2f} is the utility: the weighted sum of the changes, each divided by its "
            "scale. The model before the run has U 0"
        )
    if verdicts:
        lines.append(f"{RULE} A scale is 1 nat per token if the environment file gives none.")
    lines.append(
        judged_sentence({run_id: run_judged(warehouse, run, pool)})
        or _judge_advice(warehouse, run_id, environment_of(run.config))
    )
    over_natural = from_natural(warehouse, run, pool)
    lines += [over_natural.sentence] if over_natural and over_natural.differences else []
    lines += _comparison_lines(warehouse, run, others, own)
    return Aftermath(verdicts=verdicts, utility=utility, lines=tuple(lines))


def _comparison_lines(warehouse: Warehouse, run: "Run", others: "Sequence[Run]", own: "Group") -> list[str]:
    """How a run compares with natural mixing, and the command that shows it beside comparable runs."""
    from dmix.training.report.queries.judged import groups_of
    from dmix.training.report.queries.seeds import configuration

    natural = [other for other in others if other.controller == "natural"]
    if run.controller != "natural" and natural:
        same = [other for other in natural if configuration(other) == configuration(natural[0])]
        names = [other.run_id for other in same]
        shown = f"to compare these runs: {_report_command(warehouse, [run.run_id, *names])}"
        return [*difference_lines(own, groups_of(same)[0], names=names), shown]
    if run.controller != "natural":
        return [f"there is no comparable run of natural mixing. {_natural_advice(warehouse, run.run_id)}"]
    if others:
        names = [run.run_id, *(other.run_id for other in others)]
        return [f"to compare these runs: {_report_command(warehouse, names)}"]
    return [
        "there is no other run for a comparison yet. To look at this one: "
        f"{_report_command(warehouse, [run.run_id])}"
    ]


# Items that `dmix init` and the quickstart keep from controllers, beside the environment file.
_JUDGING = "judging.yaml"


def _report_command(warehouse: Warehouse, runs: Sequence[str]) -> str:
    """The command that writes a report on some runs."""
    words = ["dmix", "report", "--warehouse", str(warehouse.root)]
    return shlex.join([*words, *(word for run_id in runs for word in ("--run", run_id))])


def _judge_advice(warehouse: Warehouse, run_id: str, environment: "Environment | None") -> str:
    """How to judge a run by items that no controller reads; the command where their file is known."""
    from dmix.training.evaluation.verdicts import ON_SEEN_ITEMS

    file = None if environment is None else Path(environment.folder) / _JUDGING
    if file is None or not file.is_file():
        return f"{ON_SEEN_ITEMS} 'dmix eval' scores the run on other items"
    words = ["dmix", "eval", "--warehouse", str(warehouse.root), "--run", run_id, "--step", "all"]
    words += ["--environment", str(file)]
    return f"{ON_SEEN_ITEMS} To score the run on other items: {shlex.join(words)}"


def _natural_advice(warehouse: Warehouse, run_id: str) -> str:
    """How to train a run of natural mixing that differs from this one in nothing else."""
    from dmix.training.run.config import read_config
    from dmix.training.run.request import RunRequest, run_config_file

    words = ["dmix", "train", "--controller", "natural", "--run", f"{run_id}-natural"]
    try:
        config, file = read_config(warehouse, run_id), run_config_file(warehouse, run_id)
    except InputError:
        return f"Run the command again, in place of the agent or controller with {shlex.join(words[2:])}"
    words += ["--warehouse", str(warehouse.root), "--model", config.model, "--dataset", config.dataset]
    words += ["--environment", str(file)] if config.environment else []
    words += ["--training", str(file), "--steps", str(config.steps)]
    words += ["--samples-per-step", str(config.step_samples), "--batch-size", str(config.batch_size)]
    default = RunRequest()
    for name in ("exhaustion", "max_passes", "shuffle_block", "seed"):
        value = getattr(config, name)
        if value != getattr(default, name):
            words += [f"--{name.replace('_', '-')}", str(value)]
    words += ["--allow-other-tokenizer"] if config.allow_other_tokenizer else []
    return f"To train one: {shlex.join(words)}"


def model_lines(model: Path) -> list[str]:
    """Where a model is, and how Python loads it."""
    load = f"from transformers import AutoModelForCausalLM as M; M.from_pretrained({json.dumps(str(model))})"
    return [f"model: {model}", f"to load the model: python -c {shlex.quote(load)}"]


def difference_lines(own: "Group", natural: "Group", *, names: Sequence[str]) -> list[str]:
    """What a run gained over natural runs: utility and each objective, in one line."""
    told = []
    if own.utilities and natural.utilities:
        told.append(f"U {own.utilities[0] - float(np.mean(natural.utilities)):+.2f}")
    for name, changes in own.changes.items():
        if changes and natural.changes.get(name):
            told.append(f"{name} {changes[0] - float(np.mean(natural.changes[name])):+.2f}")
    on = "on the items that the controller read"
    return [f"difference from natural mixing ({', '.join(names)}) {on}: {', '.join(told)}"] if told else []
