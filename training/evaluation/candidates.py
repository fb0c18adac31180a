"""Models that can be evaluated: those of a run's steps, and any folder that transformers loads."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from dmix.mixing.controllers import fixed
from dmix.training.evaluation.steps import chosen_models
from dmix.training.model.digests import model_digest
from dmix.training.model.lora import merge_adapters
from dmix.training.model.models import load_model, load_network
from dmix.training.model.saving import dataset_tokenizer
from dmix.training.run.assembly.job import TrainingJob
from dmix.training.run.checkpoints import load_run_checkpoint
from dmix.training.run.config import read_config
from dmix.training.run.launch import job_of
from dmix.training.run.resuming.differences import STARTING_MODEL
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.weights import readable


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
            return network, AutoTokenizer.from_pretrained(model, trust_remote_code=False)
        except Exception as error:  # transformers and tokenizers raise many kinds
            said = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise InputError(
                f"transformers cannot load the tokenizer of {model} ({said}); put its tokenizer.json and "
                "tokenizer_config.json beside the weights"
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
    return [_candidate(job, step, path) for step, path in chosen_models(warehouse, config, steps).items()]


def _candidate(job: TrainingJob, step: int, path: Path | None) -> Candidate:
    start = {STARTING_MODEL: model_digest(job.model)}
    if path is None:
        return Candidate(step, str(job.model), lambda: (_first_network(job), _tokenizer(job)), start)
    if path.is_dir():
        adapters_alone = job.training.lora is not None and not job.training.lora.merge
        content = start if adapters_alone else {}
        return Candidate(step, str(path), lambda: (load_network(str(path)), _tokenizer(job)), content)
    return Candidate(step, str(path), partial(_of_checkpoint, job, path))


def _first_network(job: TrainingJob) -> PreTrainedModel:
    return load_model(job.model, job.manifest).network


def _tokenizer(job: TrainingJob) -> PreTrainedTokenizerBase:
    return dataset_tokenizer(job.streams, job.manifest)


def _of_checkpoint(job: TrainingJob, path: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model that a checkpoint of Composer's holds; sharded runs write whole tensors, too."""
    lora = job.training.lora
    model = load_model(job.model, job.manifest, lora=lora)
    with readable(path, what="a checkpoint of this run", fix="remove it, or evaluate another --step"):
        model.load_state_dict(load_run_checkpoint(path, mmap=True)["state"]["model"])
    if lora is not None:
        merge_adapters(model.network)
    return model.network, _tokenizer(job)
