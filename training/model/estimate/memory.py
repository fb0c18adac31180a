"""How much memory a rank needs to train a model, and how much disk its run: arithmetic on the model's
shape, without torch where that is not needed (`dmix.warehouse_schema.gpus`).

Weights, gradients and AdamW's two moments are kept in fp32, four bytes each, as Composer does under
automatic mixed precision. What is left out: the CUDA context (about 1 GiB), fragments of the
allocator, buffers of the communication. On a CPU, glibc keeps freed memory of up to 0.8 times the
activations, unless MALLOC_MMAP_THRESHOLD_ is set. Activations are those that PyTorch keeps for the backward
pass of layers with fused attention, which holds no table of L x L scores. A LLaMA in fp32 on a CPU keeps
about half of them (`dmix.training.model.llama`), which the estimate leaves out of account.
"""

import dataclasses
import shutil
from dataclasses import dataclass
from pathlib import Path

from dmix.training.model.estimate.shapes import ModelShape
from dmix.training.model.settings import CHUNK_TOKENS, TrainingSettings
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.gpus import has_gpu, memory_by_driver
from dmix.warehouse_schema.memory import free_memory
from dmix.warehouse_schema.sizes import num_text, size_text

_FP32, _BF16 = 4, 2
# Share of the free memory that an estimate may fill: it leaves out buffers and fragments.
_USABLE = 0.8


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes on one rank.

    Attributes:
        weights: The rank's share of the weights.
        gradients: Its share of the gradients.
        optimizer: Its share of AdamW's moments.
        gathered: Copies of weights for computing: in bf16, and whole where they are sharded.
        activations: What is kept from the forward to the backward pass of one microbatch.
        logits: The output of one microbatch and its gradient.
    """

    weights: int
    gradients: int
    optimizer: int
    gathered: int
    activations: int
    logits: int

    @property
    def total(self) -> int:
        """All of it."""
        return sum(vars(self).values())


def memory_per_rank(
    shape: ModelShape, training: TrainingSettings, *, ranks: int, seq_len: int, bf16: bool
) -> Memory:
    """Bytes that one of `ranks` ranks needs.

    Args:
        shape: Of the model.
        training: Batch sizes, sharding and activation checkpointing.
        ranks: Number of ranks, at least 1.
        seq_len: L, tokens of a sample.
        bf16: Compute in bf16.

    Raises:
        InputError: If the batch is not a multiple of the ranks.
    """
    if ranks < 1 or training.batch_size % ranks:
        raise InputError(
            f"batch_size is {training.batch_size}, which is not a multiple of the {num_text(ranks, 'rank')}; "
            "change batch_size"
        )
    rows = training.batch_size // ranks
    tokens = training.rows_at_a_time(rows) * seq_len
    element = _BF16 if bf16 else _FP32
    sharded = training.sharding != "none" and ranks > 1
    share = -(-shape.parameters // ranks) if sharded else shape.parameters
    trained = share if sharded else shape.trained_parameters
    layer = tokens * _kept_per_token(shape, bf16=bf16)
    if training.activation_checkpointing:
        # the input of every layer, and one layer that is computed again
        activations = shape.layers * tokens * shape.hidden * element + layer
    else:
        activations = shape.layers * layer
    return Memory(
        weights=share * _FP32,
        gradients=trained * _FP32,
        optimizer=2 * trained * _FP32,
        gathered=_gathered(shape, training, sharded=sharded, bf16=bf16),
        activations=activations,
        logits=_logits(shape, tokens, sharded=training.sharding != "none", element=element),
    )


def fitting_microbatch(
    shape: ModelShape, training: TrainingSettings, *, ranks: int, seq_len: int, bf16: bool, room: int
) -> int:
    """Samples of one forward pass that fit: a rank's whole share, or its half, its quarter, … down to 1.

    Args:
        shape: Of the model.
        training: Batch size, sharding and activation checkpointing.
        ranks: Number of ranks, at least 1.
        seq_len: L, tokens of a sample.
        bf16: Compute in bf16.
        room: Bytes that the rank may take.

    Raises:
        InputError: If the batch is not a multiple of the ranks.
    """
    size = training.batch_size // ranks

    def needed() -> int:
        tried = dataclasses.replace(training, microbatch_size=size)
        return memory_per_rank(shape, tried, ranks=ranks, seq_len=seq_len, bf16=bf16).total

    while size > 1 and needed() > room:
        size //= 2
    return max(1, size)


def room_of_a_rank(ranks_here: int) -> int:
    """Bytes that each of the ranks on this machine may take: most of what is free."""
    gpu = gpu_memory()
    return int(_USABLE * free_memory()) // ranks_here if gpu is None else int(_USABLE * gpu[0])


def _kept_per_token(shape: ModelShape, *, bf16: bool) -> int:
    """Bytes that a layer keeps of a token.

    Norms keep theirs in fp32. The others are the inputs of linear layers (and in bf16 what they were cast
    from), queries, keys, values, the output of attention, and the vectors within the feed-forward layer. Keys
    and values count as if they were repeated for every query, as they are on a CPU.
    """
    norms = 4 * shape.hidden if shape.norms is None else shape.norms
    others = (9 if bf16 else 6) * shape.hidden + (4 if shape.gated else 2) * shape.feed_forward
    return norms * _FP32 + others * (_BF16 if bf16 else _FP32)


def _gathered(shape: ModelShape, training: TrainingSettings, *, sharded: bool, bf16: bool) -> int:
    """Under `full` two layers (one computes while the next arrives) and what is outside of layers."""
    element = _BF16 if bf16 else _FP32
    if not sharded:
        return shape.parameters * _BF16 if bf16 else 0
    if training.sharding == "gradients":
        return shape.parameters * element
    outside = shape.parameters - shape.layers * shape.layer_parameters
    return (2 * shape.layer_parameters + outside) * element


def _logits(shape: ModelShape, tokens: int, *, sharded: bool, element: int) -> int:
    """Logits, their fp32 copy and its gradient; a chunk of them where the weights are whole."""
    kept = tokens if sharded else min(tokens, CHUNK_TOKENS)
    return kept * shape.vocabulary * (element + 2 * _FP32)


@dataclass(frozen=True, kw_only=True)
class RunDisk:
    """Bytes that a run writes into its folder.

    Attributes:
        checkpoint: One checkpoint: weights and AdamW's two moments, in fp32.
        checkpoints: Number of checkpoints that are kept.
        most_checkpoints: Bytes of all checkpoints at a time, since the oldest goes after the newest is whole.
        result: The trained model and the state of its optimiser.
        peak: Most bytes at a time: all checkpoints, or the kept ones and the model.
        kept: What stays when the run is finished.
    """

    checkpoint: int
    checkpoints: int
    most_checkpoints: int
    result: int
    peak: int
    kept: int

    def __str__(self) -> str:
        return (
            f"at most {size_text(self.peak)} during the run ({num_text(self.checkpoints, 'checkpoint')} of "
            f"{size_text(self.checkpoint)} each), and {size_text(self.kept)} afterwards"
        )


def disk_of_run(shape: ModelShape, training: TrainingSettings, *, steps: int, batches: int) -> RunDisk:
    """Bytes that the checkpoints of a run and its trained model take.

    Args:
        shape: Of the model.
        training: What is saved, how often, and how much of it stays.
        steps: M.
        batches: Global batches of the whole run.
    """
    moments = 2 * shape.trained_parameters * _FP32
    checkpoint = shape.parameters * _FP32 + moments
    adapters_alone = training.lora is not None and not training.lora.merge
    model = (shape.trained_parameters if adapters_alone else shape.parameters) * _FP32
    only_model = training.keep == "model"
    state = 0 if only_model or training.sharding != "none" else moments
    written = _checkpoints_written(training, steps=steps, batches=batches)
    kept = min(written, training.checkpoints_kept)
    while_training = min(written, training.checkpoints_kept + 1) * checkpoint
    at_end = kept * checkpoint + model + state
    return RunDisk(
        checkpoint=checkpoint,
        checkpoints=kept,
        most_checkpoints=while_training,
        result=model + state,
        peak=max(while_training, at_end),
        kept=model if only_model else at_end,
    )


def _checkpoints_written(training: TrainingSettings, *, steps: int, batches: int) -> int:
    """Checkpoints of a run that nothing stops; a step's last batch is saved with the step alone."""
    every = training.checkpoint_steps
    regular = -(-steps // every) if every else int(training.keep == "all")
    inside = batches // training.checkpoint_batches if training.checkpoint_batches else 0
    return regular + inside


def check_room(need: RunDisk, *, checkpoints: Path, result: Path, what: str) -> None:
    """Refuses a run that would fill a disk.

    Args:
        need: What the run writes.
        checkpoints: Folder of its checkpoints, which need not exist; those in it take no further room.
        result: Folder of the trained model, which need not exist.
        what: Who writes, for people.

    Raises:
        InputError: If a disk has less room; it names need, free space, folder and fix.
    """
    written = sum(path.stat().st_size for path in checkpoints.glob("*.pt*"))
    first, second = _there(checkpoints), _there(result)
    if _device(first) == _device(second):
        wanted = [(first, need.peak - written)]
    else:
        wanted = [(first, need.most_checkpoints - written), (second, need.result)]
    for folder, size_bytes in wanted:
        free = shutil.disk_usage(folder).free
        if size_bytes > free:
            raise InputError(
                f"{what} needs {size_text(size_bytes)} on disk for its model and its checkpoints "
                f"({size_text(need.checkpoint)} each), but {folder} has {size_text(free)} free. Free "
                "some space, set checkpoints_kept: 1 or keep: model in the training file, or put the "
                "warehouse on a larger disk"
            )


def _there(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())


def _device(folder: Path) -> int:
    return folder.stat().st_dev


def gpu_memory() -> tuple[int, int] | None:
    """Bytes that are free and bytes that there are on the GPU of this process; None without one."""
    if not has_gpu():
        return None
    found = memory_by_driver()
    if found is not None:
        return found
    import torch

    return torch.cuda.mem_get_info() if torch.cuda.is_available() else None
