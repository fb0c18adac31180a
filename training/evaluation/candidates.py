"""Models that can be evaluated: those of a run's steps, and any folder that transformers loads."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from dmix.training.checkpoints import checkpoints, latest_checkpoint, steps_done_at
from dmix.training.launch import job_of, read_config
from dmix.training.models import dataset_tokenizer, load_model, load_network
from dmix.training.run import TrainingJob
from dmix.training.summary import summarise
from dmix.warehouse_schema.errors import InputError, NotFoundError
from dmix.warehouse_schema.layout import Warehouse


@dataclass(frozen=True)
class Candidate:
    """A model by the step that it was reached at; loaded when it is asked for.

    Attributes:
        step: Steps of its run that it has trained; None for a model that is of no run.
        origin: Where it lies.
        load: Gives network and tokenizer.
    """

    step: int | None
    origin: str
    load: Callable[[], tuple[PreTrainedModel, PreTrainedTokenizerBase]]


def model_candidate(model: str) -> Candidate:
    """A checkpoint folder or hub id that is of no run, as `resolve_model` gives it."""

    def load() -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        network = load_network(model)
        try:
            return network, AutoTokenizer.from_pretrained(model)
        except (OSError, ValueError) as error:
            raise InputError(
                f"{model} has no tokenizer that transformers can load ({str(error).splitlines()[0]}); put its"
                " tokenizer.json and tokenizer_config.json beside the weights"
            ) from None

    return Candidate(None, model, load)


def run_candidates(warehouse: Warehouse, run_id: str, steps: Sequence[str]) -> list[Candidate]:
    """Models of a run, ascending by step.

    Args:
        warehouse: Where the run is.
        run_id: The run.
        steps: Numbers of steps, 0 being the model that the run started from, or `all`; without any,
            the newest model.

    Raises:
        NotFoundError: If there is no such run, or no model of a step.
        InputError: If a step is neither a number nor `all`.
    """
    job = job_of(warehouse, read_config(warehouse, run_id))
    there = _steps_there(warehouse, job)
    if "all" in steps:
        wanted = sorted(there)
    elif steps:
        wanted = sorted({_step_number(step) for step in steps})
    else:
        wanted = [max(there)]
    for step in wanted:
        if step not in there:
            known = ", ".join(map(str, sorted(there)))
            raise NotFoundError(
                f"run {run_id} has no model of step {step} (there: {known}); a training file's"
                " checkpoints_kept and checkpoint_steps say which ones stay"
            )
    return [there[step] for step in wanted]


def _steps_there(warehouse: Warehouse, job: TrainingJob) -> dict[int, Candidate]:
    """What is left of a run, by step: its first model, whole checkpoints, and its result."""
    folder = warehouse.run(job.run_id)
    found = {0: Candidate(0, str(job.model), lambda: (_first_network(job), _tokenizer(job)))}
    kept = checkpoints(folder / "checkpoints")
    newest = latest_checkpoint(folder / "checkpoints")
    for path in kept[: kept.index(newest) + 1] if newest else []:
        step = steps_done_at(path)
        found[step] = Candidate(step, str(path), partial(_of_checkpoint, job, path))
    if job.result is not None and (job.result / "config.json").is_file():
        step = summarise(folder / "events.jsonl").steps
        result = str(job.result)
        found[step] = Candidate(step, result, lambda: (load_network(result), _tokenizer(job)))
    return found


def _step_number(text: str) -> int:
    if not text.isdigit():
        raise InputError(f"--step is {text!r}, expected a number from 0 on, or all")
    return int(text)


def _first_network(job: TrainingJob) -> PreTrainedModel:
    return load_model(job.model, job.manifest).network


def _tokenizer(job: TrainingJob) -> PreTrainedTokenizerBase:
    return dataset_tokenizer(job.streams, job.manifest)


def _of_checkpoint(job: TrainingJob, path: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model that a checkpoint of Composer's holds; sharded runs write whole tensors, too."""
    model = load_model(job.model, job.manifest)
    # written by this run: it holds random states and settings beside tensors
    saved = torch.load(path, map_location="cpu", weights_only=False, mmap=True)
    model.load_state_dict(saved["state"]["model"])
    return model.network, _tokenizer(job)
