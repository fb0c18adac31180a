"""What a user asks of an evaluation. Light to import, since the command line reads it."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import util

from dmix.training.model.settings import how_to_install
from dmix.warehouse_schema.errors import InputError, MissingDependencyError
from dmix.warehouse_schema.settings import check_range, setting

# The benchmarks of the paper, by their names in lm-evaluation-harness.
GROUPS = {
    "general": (
        "mmlu",
        "hellaswag",
        "openbookqa",
        "winogrande",
        "arc_challenge",
        "piqa",
        "sciq",
        "logiqa",
    ),
    "math": ("gsm8k", "minerva_math", "hendrycks_math", "mathqa"),
}
# Code is judged by running it, which evalplus does.
CODE_TASKS = ("humaneval", "mbpp")

KINDS = ("multiple_choice", "qa")


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """How models are evaluated; scores under different settings are not comparable."""

    limit: int | None = setting(
        None, help="Maximum number of items per task. dmix takes the first items of the task. Default: all."
    )
    few_shot: int | None = setting(
        None,
        help="Number of solved items before each question. Default: the number that the task sets, or "
        "0 for --items.",
    )
    batch_size: int = setting(8, help="Number of items in one forward pass.")
    again: bool = setting(False, help="Compute scores again, even if the warehouse already has them.")
    allow_code: bool = setting(
        False, help="Let evalplus run the programs that the model writes. Use this flag only in a container."
    )

    def __post_init__(self) -> None:
        check_range(self, "limit", "batch_size", least=1, flags=True)
        check_range(self, "few_shot", least=0, flags=True)


def check_tasks(names: Sequence[str], *, items: bool, settings: EvaluationSettings) -> None:
    """Refuses what cannot be evaluated here, before a model is loaded for it.

    Args:
        names: Tasks by name.
        items: Whether files of items are evaluated too.
        settings: How.

    Raises:
        MissingDependencyError: If the program that runs a task is not installed.
        InputError: If code may not be run, or the settings are of no effect on it.
    """
    code = [name for name in names if name in CODE_TASKS]
    if (items or len(code) < len(names)) and util.find_spec("lm_eval") is None:
        raise MissingDependencyError(
            f"dmix eval needs lm-evaluation-harness, which is not installed; {how_to_install('eval')}"
        )
    if not code:
        return
    if util.find_spec("evalplus") is None:
        raise MissingDependencyError(
            f"task {code[0]} needs evalplus, which is not installed; {how_to_install('code')}"
        )
    if not settings.allow_code:
        raise InputError(
            f"task {code[0]} runs programs that the model writes; add --allow-code to allow this"
        )
    for flag, value in (("--limit", settings.limit), ("--few-shot", settings.few_shot)):
        if value is not None:
            raise InputError(
                f"{flag} has no effect on {code[0]}: evalplus runs all its problems. Leave {flag} out, "
                f"or set {code[0].upper()}_OVERRIDE_PATH to a file with some problems"
            )


def task_names(asked: tuple[str, ...]) -> tuple[str, ...]:
    """Names of single tasks, `general`, `math` and `code` replaced by theirs; each comes once."""
    groups = {**GROUPS, "code": CODE_TASKS}
    names = [name for given in asked for name in groups.get(given, (given,))]
    return tuple(dict.fromkeys(names))
