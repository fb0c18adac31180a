"""What a user asks of a run: sizes, rules and names. Light to import, since the command line reads it."""

import functools
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from dmix.mixing.delivery.exhaustion import EXHAUSTION
from dmix.training.model.settings import (
    RATE_FROM_SCRATCH,
    RATE_OF_ADAPTERS,
    RATE_OF_CHECKPOINT,
    TrainingSettings,
)
from dmix.warehouse_schema.errors import InputError, NotFoundError
from dmix.warehouse_schema.files.events import resume_command
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.names import from_home, refuse_credentials, refuse_links
from dmix.warehouse_schema.files.weights import model_origin
from dmix.warehouse_schema.settings import check_range, setting

logger = logging.getLogger(__name__)

DEFAULT_STEPS = 16
_MOST = 2**31  # what events and the catalog hold

BASE_RUN = "base-"
"""What the run of a base model is called by, with the name of the model behind it."""

# Rates within this factor of the usual one are a matter of taste.
_FAR_ABOVE = 10.0


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """What a user asks for; everything else follows from it and from the dataset."""

    steps: int = setting(
        DEFAULT_STEPS, help="Number of steps (M). Each step draws its samples under one mixture."
    )
    samples_per_step: int | str = setting(
        "auto",
        help="Number of samples per step (R), a multiple of the batch. 'auto' means the smallest number "
        "with which natural mixing reads all target samples once in --steps steps. Natural mixing gives "
        "every domain a share in proportion to its size.",
    )
    batch_size: int | None = setting(
        None,
        help="Number of samples per batch (B), over all ranks (training processes). Default: "
        "batch_size of the training file.",
    )
    exhaustion: str = setting(
        "stop",
        help="Rule for a domain without samples left. With 'stop', other domains get its share, and the "
        "run ends when no target samples are left. With 'redistribute', other domains get its share until "
        "no samples are left. With 'repeat', the domain starts a new pass (see --max-passes).",
        choices=EXHAUSTION,
    )
    max_passes: int = setting(
        4, help="Maximum number of passes through each domain, with --exhaustion repeat."
    )
    shuffle_block: int = setting(
        8,
        help="Number of shards (files of samples) of a domain that dmix shuffles together. Fewer shards "
        "mean fewer open files per step. If you give the number of all shards, the shuffle is "
        "complete.",
    )
    guard: str = setting(
        "auto",
        help="Limits on the mixtures, from a set of trajectories (series of mixtures). Give SET or "
        "SET:QUANTILE. dmix limits each domain's share, and the change from step to step. It sets each "
        "limit so that the fraction QUANTILE of the set's own steps is within the limit (default: 0.99). "
        "With 'auto', dmix uses the set from which the agent learned. If the warehouse does not have that "
        "set for the same domains, there are no limits. 'off' means no limits.",
    )
    shadow: str | None = setting(
        None,
        help="Second controller that also proposes a mixture at every step. The run records these "
        "mixtures but does not use them.",
    )
    allow_other_tokenizer: bool = setting(
        False, help="Accept a model whose tokenizer differs from the tokenizer of the dataset."
    )
    gradients_every: int = setting(
        0,
        help="Number of steps after which the effect agent measures effects again, by gradients of the "
        "run's model. Each measurement reads as many tokens as a step. 0 means never.",
    )
    seed: int | None = setting(
        None, help="Seed of the sample order and of random controllers. Default: the seed of the dataset."
    )

    def __post_init__(self) -> None:
        counts = ("steps", "batch_size", "max_passes", "shuffle_block")
        check_range(self, *counts, least=1, most=_MOST - 1, flags=True)
        check_range(self, "gradients_every", least=0, flags=True)


def rank_here() -> int:
    """Rank that the launcher gave this process; 0 without a launcher."""
    return int(os.environ.get("RANK", "0"))


def ranks_here() -> int:
    """Number of ranks of this launch."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextmanager
def joined_ranks() -> Iterator[None]:
    """Joins the ranks of this launch, so that one that fails in the body ends all of them, with its words.

    The body may begin with what needs none of the others, such as reading files that a node lacks.
    """
    if ranks_here() == 1:
        yield
        return
    from dmix.training.run.ranks import failing_together, prepare_ranks  # seconds of torch

    prepare_ranks()
    with failing_together():
        yield


def resolve_model(spec: str, warehouse: Warehouse) -> str:
    """What a user named as a model, in a form that means the same from any folder.

    Args:
        spec: A model file (.yaml), a checkpoint folder, a model of the warehouse, or a hub id.

    Returns:
        An absolute path, or the hub id.

    Raises:
        NotFoundError: If it looks like a path and nothing is there.
    """
    if "://" in spec:
        refuse_credentials(spec, what="the model")
        raise NotFoundError(f"model {spec} is a URL; give a model file, a checkpoint folder or a hub id")
    path = from_home(spec)
    if path.exists():
        return str(path.absolute())
    if "/" not in spec and (warehouse.root / "models" / spec).is_dir():
        folder = warehouse.model(spec)
        refuse_links(folder, inside=folder)
        return str(folder)
    if path.suffix in (".yaml", ".yml") or path.is_absolute() or spec.startswith("."):
        raise NotFoundError(
            f"model {spec} does not exist; give a model file, a checkpoint folder or a hub id"
        )
    if rank_here() == 0:
        _warn_of_hub_id(spec)
    return spec


@functools.cache  # once for each model, however often a command resolves it
def _warn_of_hub_id(spec: str) -> None:
    logger.warning("%s", unchecked_hub_id(spec))


def unchecked_hub_id(spec: str) -> str:
    """What a user should know who may have mistyped the path of a checkpoint."""
    return (
        f"there is no folder {spec} here, so dmix asks the Hugging Face hub for {spec!r}. If you mean a "
        "folder, correct its path"
    )


def new_run_folder(warehouse: Warehouse, run_id: str, *, of_base_model: bool = False) -> Path:
    """Where a run that is about to start will be.

    Args:
        warehouse: Where the run goes.
        run_id: Its name.
        of_base_model: Whether `dmix train base` starts it, which resumes by itself.

    Raises:
        InputError: If the name cannot be a folder, or there is a run of that name.
    """
    folder = warehouse.run(run_id)
    refuse_links(folder)
    if (folder / "events.jsonl").is_file():
        fix = (
            "another command has started it; run the same command again, or choose another --name"
            if of_base_model
            else f"to resume this run, use {resume_command(folder)}. Otherwise, choose another --run"
        )
        raise InputError(f"run {run_id} already exists in {warehouse.root}; {fix}")
    return folder


def lock_file(run_folder: Path) -> Path:
    """Held while a run is trained."""
    return run_folder / ".lock"


def run_config_file(warehouse: Warehouse, run_id: str) -> Path:
    """The file with the configuration of a run that is there.

    Raises:
        NotFoundError: If there is no such run.
    """
    refuse_links(warehouse.run(run_id))
    path = warehouse.run(run_id) / "config.yaml"
    if not path.is_file():
        known = sorted(found.parent.name for found in (warehouse.root / "runs").glob("*/config.yaml"))
        raise NotFoundError(
            f"run {run_id!r} is not in {warehouse.root} (available: {', '.join(known[-5:]) or 'none yet'})"
        )
    return path


def base_model_folder(warehouse: Warehouse, name: str) -> Path:
    """Folder of a base model of the warehouse, with weights and optimiser state.

    Raises:
        NotFoundError: If there is none of that name.
    """
    folder = warehouse.model(name)
    if not folder.is_dir():
        known = sorted(found.name for found in (warehouse.root / "models").glob("[!.]*"))
        raise NotFoundError(
            f"base model {name!r} is not in {warehouse.root} (available: {', '.join(known) or 'none yet'});"
            " make it with 'dmix train base'"
        )
    return folder


def base_of_proxies(warehouse: Warehouse, base: str | None, *, init: str) -> Path | None:
    """Folder of the base model of a farm's proxies; None if they start from random weights.

    Raises:
        InputError: If a base is named and `init` wants none, or the other way round.
        NotFoundError: If there is none of that name.
    """
    if init == "scratch":
        if base is not None:
            raise InputError(
                f"--base {base} needs 'init: base' in the proxy file, but init is scratch; set init: base"
            )
        return None
    if base is None:
        raise InputError("init is base in the proxy file; give a base model with --base")
    return base_model_folder(warehouse, base)


def with_rate(training: TrainingSettings, model: str) -> TrainingSettings:
    """Training settings with the learning rate that suits a model, where none is given.

    Weights that are random need a rate at which a checkpoint forgets what it knows; a model that dmix
    trained goes on at the rate that it was trained at.

    Args:
        training: As the user gave them.
        model: From `resolve_model`.
    """
    if training.learning_rate is not None:
        return training
    return replace(training, learning_rate=_default_rate(model, adapters=training.lora is not None))


def _default_rate(model: str, *, adapters: bool) -> float:
    if Path(model).suffix in (".yaml", ".yml"):
        return RATE_FROM_SCRATCH
    if adapters:
        return RATE_OF_ADAPTERS
    origin = model_origin(Path(model))  # models of earlier versions do not say, and were from random weights
    return (origin.learning_rate if origin is not None else None) or RATE_OF_CHECKPOINT


def rate_warning(training: TrainingSettings, model: str) -> str:
    """What to say of a learning rate that is far above that of checkpoints; empty where it is not."""
    default = _default_rate(model, adapters=training.lora is not None)
    if Path(model).suffix in (".yaml", ".yml") or training.peak_rate <= _FAR_ABOVE * default:
        return ""
    return (
        f"learning_rate {training.peak_rate:g} is {training.peak_rate / default:.0f} times the usual "
        f"rate for such a checkpoint ({default:g}). The model may forget what it learned; lower "
        "learning_rate in the training file"
    )
