"""Scores of a model by lm-evaluation-harness, an optional dependency (`dmix[eval]`)."""

import contextlib
import difflib
import io
import logging
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from dmix.training.evaluation.item_tasks import ItemTask
from dmix.training.evaluation.settings import EvaluationSettings
from dmix.training.evaluation.stored import Score
from dmix.training.model.families import positions_of
from dmix.warehouse_schema.errors import InputError, NotFoundError, first_line
from dmix.warehouse_schema.sizes import num_text


class Harness:
    """The installed harness with the tasks that were asked for.

    Args:
        names: Tasks by their names in the harness; their data come from the hub.
        item_tasks: Tasks whose items are at hand.

    Raises:
        InputError: If it knows no task of a name, or a name comes twice.
    """

    def __init__(self, names: Sequence[str], item_tasks: Sequence[ItemTask] = ()) -> None:
        from lm_eval.tasks import TaskManager

        logging.getLogger("lm_eval").setLevel(logging.ERROR)
        # to know all tasks takes it some 20 s
        self._manager = TaskManager(include_defaults=bool(names))
        for name in names:
            if name not in self._manager.all_tasks:
                near = difflib.get_close_matches(name, self._manager.all_tasks, n=3)
                hint = (
                    f"did you mean {', '.join(near)}?" if near else "run 'lm_eval ls tasks' to list all tasks"
                )
                raise InputError(f"lm-evaluation-harness has no task {name!r}; {hint}")
        self._items = {task.name: task for task in item_tasks}
        if len(self._items) < len(item_tasks) or self._items.keys() & set(names):
            raise InputError("two tasks have the same name; rename one of the item files")

    def scores(
        self,
        task: str,
        network: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        settings: EvaluationSettings,
    ) -> list[Score]:
        """Scores of one task and of its parts.

        Raises:
            NotFoundError: If the task's data cannot be downloaded from the hub.
        """
        from lm_eval.evaluator import simple_evaluate
        from lm_eval.models.huggingface import HFLM

        spec: Any = task
        if task in self._items:
            check_item_task(self._items[task], network, tokenizer, few_shot=settings.few_shot or 0)
            spec = self._items[task].config(few_shot=settings.few_shot or 0)
        with _bars_on_terminals(), _scores_alone():
            model = HFLM(pretrained=network, tokenizer=tokenizer, batch_size=settings.batch_size)
            try:
                results = simple_evaluate(
                    model,
                    tasks=[spec],
                    num_fewshot=settings.few_shot,
                    limit=settings.limit,
                    task_manager=self._manager,
                    log_samples=False,
                    # means have a closed form; this is for the few metrics that have none
                    bootstrap_iters=1000,
                )
            except (OSError, ValueError) as error:
                # requests, datasets and huggingface_hub each have their own; all are one of the two
                if task in self._items or not _is_unreachable(error):
                    raise
                raise NotFoundError(
                    f"dmix cannot download the items of task {task!r} from the hub "
                    f"({first_line(error)}); connect this machine to the network, copy a filled cache "
                    "(HF_HOME) to it, or give your own items with --items"
                ) from error
        return scores_of(results)


def check_item_task(
    task: ItemTask, network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, few_shot: int
) -> None:
    """Refuses items that the harness cannot score with this model.

    Raises:
        InputError: If an answer is longer than the model's positions, or fewer items than examples are left.
    """
    if few_shot >= len(task.records):
        raise InputError(
            f"--few-shot is {few_shot}, but {task.name} has only {num_text(len(task.records) - 1, 'item')} "
            f"besides the question; give at most {len(task.records) - 1}"
        )
    positions = positions_of(network.config)
    for number, record in enumerate(task.records, start=1):
        for answer in record.get("choices") or [record["answer"]]:
            length = len(tokenizer.encode(answer, add_special_tokens=False))
            if positions is not None and length >= positions:
                raise InputError(
                    f"{task.name}, item {number}: the answer {answer[:40]!r} has "
                    f"{num_text(length, 'token')}, but the context length of the model is "
                    f"{num_text(positions, 'token')}; shorten the answer or remove the item"
                )


def scores_of(results: Mapping[str, Any]) -> list[Score]:
    """The numbers of the harness's result, task after task; what is no number is left out."""
    counts = results.get("n-samples", {})
    found = []
    for task, metrics in results["results"].items():
        for key, value in metrics.items():
            metric, _, kind = key.partition(",")
            if metric.endswith("_stderr") or not kind or isinstance(value, str):
                continue
            stderr = metrics.get(f"{metric}_stderr,{kind}")
            found.append(
                Score(
                    task=task,
                    metric=metric if kind == "none" else key,
                    value=float(value),
                    stderr=float(stderr) if _is_finite(stderr) else None,
                    items=counts.get(task, {}).get("effective"),
                )
            )
    return found


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _is_unreachable(error: BaseException) -> bool:
    """True if a connection failed, or the hub was not asked because it is switched off."""
    words = ("couldn't reach", "could not reach", "connect", "offline", "not found on the hub", "resolve")
    text = str(error).lower()
    return isinstance(error, ConnectionError) or any(word in text for word in words)


@contextlib.contextmanager
def _scores_alone() -> Iterator[None]:
    """Keeps lm_eval 0.4.13 from looking for a git repository, which it reports missing on the terminal, and
    from asking pip what is installed, which takes longer than a small task. Can go with a setting for it.
    """
    from lm_eval import evaluator

    kept = {name: getattr(evaluator, name) for name in ("add_env_info", "get_git_commit_hash")}
    for name in kept:
        setattr(evaluator, name, lambda *_: None)
    try:
        yield
    finally:
        for name, function in kept.items():
            setattr(evaluator, name, function)


@contextlib.contextmanager
def _bars_on_terminals() -> Iterator[None]:
    """Keeps progress bars off a stderr that is no terminal; log messages still go there."""
    if sys.stderr.isatty():
        yield
        return
    with contextlib.redirect_stderr(io.StringIO()):
        yield
