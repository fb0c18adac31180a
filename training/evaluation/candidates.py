"""Models that can be evaluated: those of a run's steps, and any folder that transformers loads."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from dmix.mixing.controllers import fixed
from dmix.training.evaluation.stored import KnownModel, known_models
from dmix.training.model.lora import merge_adapters
from dmix.training.model.models import load_model, load_network
from dmix.training.model.saving import dataset_tokenizer
from dmix.training.run.assembly.job import TrainingJob
from dmix.training.run.checkpoints import check_finite_weights, check_types, load_run_checkpoint
from dmix.training.run.config import read_config
from dmix.training.run.launch import job_of
from dmix.training.run.resuming.checkpoint_files import names_of_run
from dmix.warehouse_schema.errors import InputError, TrainingError, first_line
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.weights import readable
from dmix.warehouse_schema.hub import asking_hub


@dataclass(frozen=True)
class Candidate:
    """A model by the step that it was reached at; loaded when it is asked for.

    Attributes:
        step: Steps of its run that it has trained; None for a model that is of no run.
        origin: Where it lies.
        load: Gives network and tokenizer.
        content: Digests of what it is made of besides the files of its run, by a name for people.
    """

    step: int | None
    origin: str
    load: Callable[[], tuple[PreTrainedModel, PreTrainedTokenizerBase]]
    content: Mapping[str, str] = field(default_factory=dict)


def model_candidate(model: str) -> Candidate:
    """A checkpoint folder or hub id that is of no run, as `resolve_model` gives it."""

    def load() -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        network = load_network(model)
        try:
            with asking_hub(model) as where:
                return network, AutoTokenizer.from_pretrained(model, trust_remote_code=False, **where)
        except Exception as error:  # transformers and tokenizers raise many kinds
            raise InputError(
                f"transformers cannot load the tokenizer of {model} ({first_line(error)}); put its "
                "tokenizer.json and tokenizer_config.json beside the weights"
            ) from error

    return Candidate(None, model, load)


def run_candidates(warehouse: Warehouse, run_id: str, steps: Sequence[str]) -> list[Candidate]:
    """Models of a run, ascending by step; arguments and errors as of `chosen_models`.

    Raises:
        NotFoundError: If there is no such run, too.
    """
    config = read_config(warehouse, run_id)
    # what steers the run is not asked for, so its code is not loaded
    job = job_of(warehouse, config, controller=fixed.source())
    return [_candidate(job, known) for known in known_models(warehouse, run_id, steps)]


def _candidate(job: TrainingJob, known: KnownModel) -> Candidate:
    path = known.path
    if path is None:
        load = partial(_of_start, job)
    else:
        load = partial(_of_folder if path.is_dir() else _of_checkpoint, job, path)
    return Candidate(known.step, known.origin, load, known.content)


def _of_start(job: TrainingJob) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    return load_model(job.model, job.manifest).network, _tokenizer(job)


def _of_folder(job: TrainingJob, path: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    return load_network(str(path)), _tokenizer(job)


def _tokenizer(job: TrainingJob) -> PreTrainedTokenizerBase:
    return dataset_tokenizer(job.streams, job.manifest)


def _of_checkpoint(job: TrainingJob, path: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model that a checkpoint of Composer's holds; sharded runs write whole tensors, too."""
    lora, events = job.training.lora, path.parent.parent / "events.jsonl"
    model = load_model(job.model, job.manifest, lora=lora)
    with readable(path, what="a checkpoint of this run", fix="remove it, or evaluate another --step"):
        found = load_run_checkpoint(path, mmap=True, of=names_of_run(job.run_id, events))
        check_types(found["state"]["model"], model)
        model.load_state_dict(found["state"]["model"])
        try:
            check_finite_weights(model)
        except TrainingError as error:
            raise ValueError(error.message) from None
    if lora is not None:
        merge_adapters(model.network)
    return model.network, _tokenizer(job)
