"""What users can set about training: the `training`, `model` and `proxy` files.

One training file serves base models, proxies, baselines and guided runs alike; an example of
each file, with every field explained, is under `docs/examples/`.
"""

import importlib.util
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dmix.warehouse_schema.errors import InputError, MissingDependencyError
from dmix.warehouse_schema.files.names import refuse_credentials
from dmix.warehouse_schema.settings import (
    MOST_WIDTH,
    check_range,
    load_settings,
    read_yaml,
    section_of_run,
    setting,
    settings_from,
)

LOGGERS = ("tensorboard", "wandb", "mlflow")

# Peak learning rates where none is given. A model from random weights needs a large one, which makes a
# checkpoint forget; adapters, which start at zero, take more than the weights that they adapt.
RATE_FROM_SCRATCH, RATE_OF_CHECKPOINT, RATE_OF_ADAPTERS = 1e-3, 3e-5, 2e-4

# Names the checkpoint of a folder of adapters, in peft's form.
ADAPTER_CONFIG = "adapter_config.json"

# Tokens whose logits exist at a time (`dmix.training.model.loss`).
CHUNK_TOKENS = 256

# Numbers that fp32 holds also after the optimiser has divided them by its corrections.
_LARGEST = 1e30

# Sizes as Streaming reads them.
_BYTES = re.compile(r"[0-9]+b?|[0-9]+(\.[0-9]+)?\s*[kmgtpezy]b", re.IGNORECASE)

# Processes that read samples for one rank; each is a fork of the rank.
_MOST_WORKERS = 512

# What a run that goes on may take from another training file.
MAY_CHANGE = ("learning_rate", "checkpoints_kept", "microbatch_size", "rank_timeout")


def how_to_install(extra: str) -> str:
    """The command that installs an extra of dmix, in versions that fit the rest."""
    clone = f"pip install -c constraints.txt -e '.[{extra}]'"
    return f"in a clone run {clone}, elsewhere pip install 'dmix[{extra}]'"


def check_loggers(names: Sequence[str]) -> None:
    """Refuses loggers whose packages are not there, before anything is made for a run.

    Raises:
        MissingDependencyError: If the package of one is not installed.
    """
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise MissingDependencyError(
                f"the logger {name} needs a package that is not installed; {how_to_install('loggers')}, or"
                f" leave {name} out of --logger and of the training file"
            )


@dataclass(frozen=True, kw_only=True)
class LoraSettings:
    """Low-rank adapters (LoRA, arXiv 2106.09685) in place of whole weights, through peft."""

    rank: int = setting(
        16, help="Rank of the two matrices whose product is the change of a weight.", most=MOST_WIDTH
    )
    alpha: int = setting(32, help="Scale of the adapters. dmix multiplies their output by alpha / rank.")
    targets: tuple[str, ...] = setting(
        ("all-linear",),
        help="Names of the linear layers that get adapters, such as q_proj and v_proj. all-linear: all "
        "linear layers except the output layer.",
    )
    merge: bool = setting(
        False,
        help="Whether to add the adapters to the weights and save a whole model. Otherwise, dmix "
        "saves only the adapters.",
    )

    def __post_init__(self) -> None:
        check_range(self, "rank", "alpha", least=1, where="lora: ")
        if not self.targets or not all(self.targets):
            raise InputError(
                "lora: targets is empty; give names of linear layers, or leave targets out to adapt "
                "all layers"
            )


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """How a model is trained; the mixture is not part of it."""

    batch_size: int = setting(
        32, help="Number of samples per batch (B), over all ranks (training processes) and microbatches."
    )
    microbatch_size: int | str | None = setting(
        None,
        help="Number of samples in one forward pass on one rank. 'auto' finds the largest number that "
        "fits into memory. On a CPU, 'auto' uses an estimate. On a GPU, 'auto' halves the number "
        "whenever memory runs out. Default: the rank's whole share of the batch.",
    )
    learning_rate: float | None = setting(
        None,
        help="Peak AdamW learning rate. Default from random weights: 1e-3. Default from a checkpoint: "
        "3e-5, or 2e-4 with lora. Default from a model that dmix trained: the rate of that training.",
    )
    betas: tuple[float, ...] = setting((0.9, 0.95), help="Decay rates of AdamW, beta 1 and beta 2.")
    epsilon: float = setting(1e-8, help="AdamW epsilon.")
    weight_decay: float = setting(
        1e-5,
        help="Decoupled weight decay: share of a weight that each batch removes at the peak learning rate.",
    )
    gradient_clip: float | None = setting(1.0, help="Largest gradient norm. null turns clipping off.")
    schedule: str = setting(
        "cosine",
        help="Shape of the learning rate after the warm-up.",
        choices=("constant", "cosine"),
    )
    warmup: float = setting(
        0.02,
        help="Length of the warm-up, as a share of all planned batches. During the warm-up, the "
        "learning rate rises from 0.",
    )
    final_rate: float = setting(
        0.1, help="Final learning rate of the cosine schedule, as a share of the peak rate."
    )
    precision: str = setting(
        "auto",
        help="Number format. 'auto' means bf16 on a GPU and fp32 on a CPU. On a CPU, bf16 is fast only "
        "with AVX512-BF16 or AMX.",
        choices=("auto", "fp32", "bf16"),
    )
    sharding: str = setting(
        "none",
        help="Distribution of weights, gradients and optimiser state over the ranks. With 'none', each "
        "rank has a copy of everything. With 'full', each rank stores a part, and ranks gather one layer at "
        "a time. With 'gradients', each rank stores a part, and ranks gather all weights once per forward "
        "and backward pass.",
        choices=("none", "full", "gradients"),
    )
    activation_checkpointing: bool = setting(
        False,
        help="Compute each layer's activations again in the backward pass, to save memory. Works only "
        "if `sharding` is 'full' or 'gradients'.",
    )
    lora: LoraSettings | None = setting(
        None,
        help="Settings of low-rank adapters, which dmix then trains instead of the checkpoint's weights. "
        "Keys: rank, alpha, targets, merge. Default: dmix trains all weights.",
    )
    reset_at_documents: bool = setting(
        False,
        help="Whether attention and positions start again at every document in a sample. The paper "
        "does not do this.",
    )
    loggers: tuple[str, ...] = setting(
        (),
        help=f"Loggers to which Composer sends metrics: any of {', '.join(LOGGERS)}.",
    )
    loader_workers: int | None = setting(
        None,
        help="Number of processes per rank that read samples. Default: 2 on a GPU, 0 on a CPU.",
        most=_MOST_WORKERS,
    )
    streams_url: str | None = setting(
        None,
        help="URL of a copy of the warehouse's folder 'streams', for example s3://bucket/streams. dmix "
        "downloads each shard just before its first use. Default: the warehouse's own streams.",
    )
    cache_folder: str | None = setting(
        None,
        help="Local folder for downloaded shards. Default: a folder in the temporary folder of the system.",
    )
    cache_limit: str | None = setting(
        None,
        help="Maximum disk space for downloaded shards, such as 20gb. In a farm, each stack of proxies "
        "has its own folder and limit. Default: no limit.",
    )
    checkpoint_steps: int = setting(
        1, help="Number of steps between two checkpoints. 0 means no checkpoints at the end of steps."
    )
    checkpoint_batches: int = setting(
        0,
        help="Number of batches between two checkpoints within a step. 0 means no checkpoints within a step.",
    )
    checkpoints_kept: int = setting(
        2, help="Number of checkpoints that dmix keeps. dmix deletes the oldest checkpoints first."
    )
    keep: str = setting(
        "all",
        help="Files that dmix keeps after the run. 'all' keeps checkpoints, model and optimiser state. "
        "'model' keeps only the model. If you also set checkpoint_steps: 0, the run writes a checkpoint "
        "only when a signal stops the run.",
        choices=("all", "model"),
    )
    rank_timeout: int = setting(
        300,
        help="Time limit in seconds for a rank that hangs or does not answer. After this time, all ranks "
        "end. A rank that only waits for other ranks does not count as hanging. Raise the limit if a "
        "controller waits longer, for example for a slow service.",
    )
    deterministic: bool = setting(
        False,
        help="Whether to use only deterministic kernels. They are slower on a GPU, and change nothing "
        "on most CPUs.",
    )
    seed: int = setting(0, help="Seed of all random draws in training, except the sample order.")

    def __post_init__(self) -> None:
        if self.streams_url:
            refuse_credentials(self.streams_url, what="streams_url of the training file")
        if self.cache_limit is not None and not _BYTES.fullmatch(self.cache_limit.strip()):
            raise InputError(f"cache_limit is {self.cache_limit!r}, expected a size such as 20gb or 500mb")
        check_range(self, "batch_size", "checkpoints_kept", "rank_timeout", least=1)
        check_range(self, "loader_workers", "checkpoint_steps", "checkpoint_batches", least=0)
        if isinstance(self.microbatch_size, int):
            check_range(self, "microbatch_size", least=1)
        elif self.microbatch_size not in (None, "auto"):
            raise InputError(f"microbatch_size is {self.microbatch_size!r}, expected a number or auto")
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise InputError(f"betas are {list(self.betas)}, expected two numbers from 0 to below 1")
        check_range(self, "learning_rate", "epsilon", "gradient_clip", above=0, most=_LARGEST)
        check_range(self, "weight_decay", least=0, most=_LARGEST)
        check_range(self, "warmup", "final_rate", least=0, most=1)
        for name in self.loggers:
            if name not in LOGGERS:
                raise InputError(f"loggers contains {name!r}, expected some of {', '.join(LOGGERS)}")
        if self.activation_checkpointing and self.sharding == "none":
            raise InputError(
                "activation_checkpointing needs sharding; set sharding: full or sharding: gradients"
            )
        if self.lora is not None and self.sharding != "none":
            raise InputError(
                f"lora does not work with sharding: {self.sharding}; set sharding: none, or leave lora out"
            )

    def rows_at_a_time(self, share: int) -> int:
        """Samples of one forward pass of a rank that has `share` samples of a batch; auto is all of them."""
        return min(share, self.microbatch_size) if isinstance(self.microbatch_size, int) else share

    @property
    def peak_rate(self) -> float:
        """The learning rate that is given, else that of random weights."""
        return RATE_FROM_SCRATCH if self.learning_rate is None else self.learning_rate


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """A model that starts from random weights."""

    architecture: str = setting(help="Model family.", choices=("llama", "gpt_neox"))
    config: dict[str, Any] = setting(
        {},
        help="Settings of the transformers configuration of this model family. Default of vocab_size: "
        "the size of the tokenizer's vocabulary.",
    )
    tokenizer: str | None = setting(
        None, help="Tokenizer of the model. If you give one, it must be the tokenizer of the dataset."
    )
    seed: int = setting(0, help="Seed of the random weights.")


def read_model(model: str | ModelSettings) -> str | ModelSettings:
    """The settings of a model file; a checkpoint's name as it is.

    Raises:
        NotFoundError, InputError: If a model file does not exist or is wrong.
    """
    if isinstance(model, str) and Path(model).suffix in (".yaml", ".yml"):
        return load_settings(ModelSettings, model)
    return model


@dataclass(frozen=True, kw_only=True)
class ProxySettings:
    """The small model that is trained along trajectories to see what mixtures do."""

    architecture: str = setting("llama", help="Model family.", choices=("llama", "gpt_neox"))
    config: dict[str, Any] = setting(
        {
            "hidden_size": 64,
            "intermediate_size": 176,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "tie_word_embeddings": True,
        },
        help="Settings of the transformers configuration of this model family.",
    )
    tokenizer: str | None = setting(
        None, help="Tokenizer of the proxies. If you give one, it must be the tokenizer of the dataset."
    )
    seed: int = setting(0, help="Seed of the random weights.")
    init: str = setting(
        "scratch",
        help="Start of the proxies. With 'scratch', proxies start from random weights. With 'base', they "
        "start from the model in --base, with its optimiser state.",
        choices=("scratch", "base"),
    )
    vary: float | None = setting(
        None,
        help="Share of the proxies that dmix varies. A varied proxy differs from the others in learning "
        "rate, width, base model or part of the source. Default: 0.25 for a set with preset 'default', 0 for "
        "preset 'paper'.",
    )
    training: TrainingSettings = field(
        default_factory=TrainingSettings,
        metadata={"help": "Training settings of the proxies. Keys: as in a training file."},
    )

    def __post_init__(self) -> None:
        check_range(self, "vary", least=0, most=1)
        if self.training.microbatch_size == "auto":
            raise InputError(
                "microbatch_size: auto does not work for proxies, because a task trains several at once; "
                "give a number in the proxy file, or leave microbatch_size out"
            )
        if self.training.lora is not None:
            raise InputError("proxies train all of their weights; leave lora out of the proxy file")

    def model(self) -> ModelSettings:
        """The model part of these settings."""
        return ModelSettings(
            architecture=self.architecture, config=self.config, tokenizer=self.tokenizer, seed=self.seed
        )


def check_lora() -> None:
    """Refuses adapters where peft is not installed, before anything is made for a run.

    Raises:
        MissingDependencyError: If it is not.
    """
    if importlib.util.find_spec("peft") is None:
        raise MissingDependencyError(
            f"lora needs the package peft, which is not installed; {how_to_install('lora')}, or leave"
            " lora out of the training file"
        )


def load_training(path: Path | str | None) -> TrainingSettings:
    """The settings of a training file, or of the `config.yaml` of a run; the defaults without one."""
    if path is None:
        return TrainingSettings()
    return settings_from(TrainingSettings, section_of_run(read_yaml(path), "training"), where=str(path))


def load_proxy(path: Path | str | None) -> ProxySettings:
    """The settings of a proxy file; the defaults without one."""
    return ProxySettings() if path is None else load_settings(ProxySettings, path)


def learning_rate_factor(batch: int, *, total: int, settings: TrainingSettings) -> float:
    """Share of the peak rate after `batch` finished batches.

    Rises linearly to 1 over the warm-up (the first batch is not trained at 0), then stays
    (constant) or falls along half a cosine to `final_rate` at `total`, where it remains. Composer
    (0.32) asks before it counts the batch that was trained, so the first two batches have one rate.
    """
    warmup = math.ceil(settings.warmup * total)
    if batch < warmup:
        return (batch + 1) / warmup
    if settings.schedule == "constant":
        return 1.0
    done = min(1.0, (batch - warmup) / max(1, total - warmup))
    return settings.final_rate + (1 - settings.final_rate) * (1 + math.cos(math.pi * done)) / 2


def rate_shares(steps: int, *, total: int, settings: TrainingSettings) -> list[float]:
    """Share of the run's summed learning rate that falls into each step, length `steps`, sum 1.

    Args:
        steps: M, all of one length.
        total: Planned batches of the run.
        settings: The schedule.
    """
    per_step = total // steps
    sums = [
        sum(
            learning_rate_factor(batch, total=total, settings=settings)
            for batch in range(step * per_step, (step + 1) * per_step)
        )
        for step in range(steps)
    ]
    return [value / math.fsum(sums) for value in sums]
