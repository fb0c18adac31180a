"""The passes of the gradient estimator: gradients of objectives and of domains, and their products.

Every gradient is scaled by the root of AdamW's metric and folded into a sketch of a million numbers with
random signs, which keeps inner products to about a thousandth of the lengths; a smaller model keeps its
gradient as it is. Memory: four times the weights, and a sketch for each objective and batch. Shapes:
N domains, B batches of a domain, M = N B, D objectives, K numbers of a sketch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from composer.utils import get_device
from numpy.typing import NDArray
from torch import Tensor

from dmix.mixing.effects.counting import sample_rows
from dmix.mixing.effects.gradients import GradientBudget
from dmix.mixing.space.domains import DomainSpace
from dmix.mixing.trajectories.encoding import EncodedItem, encode_item, load_tokenizer_file
from dmix.mixing.trajectories.objectives import Environment, read_items
from dmix.training.model.language_model import LanguageModel
from dmix.training.model.models import load_model
from dmix.training.model.precision import precision_context
from dmix.training.model.settings import ModelSettings, TrainingSettings, learning_rate_factor
from dmix.training.run.assembly.result import OPTIMIZER_FILE
from dmix.training.scoring.environment import batches_by_length
from dmix.warehouse_schema.errors import InputError, TrainingError
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.manifests import DatasetManifest
from dmix.warehouse_schema.files.weights import readable

# Tokens of one pass over items; logits of the whole vocabulary are kept for each of them.
PASS_TOKENS = 2048


@dataclass(frozen=True, kw_only=True)
class GradientTask:
    """What gradients are taken of.

    Attributes:
        warehouse: Where the dataset is.
        manifest: The dataset.
        environment: The objectives.
        model: Path of a model file or checkpoint folder, a hub id, or settings.
        training: Says how AdamW scales gradients, and how long a pass may be.
    """

    warehouse: Warehouse
    manifest: DatasetManifest
    environment: Environment
    model: str | ModelSettings
    training: TrainingSettings


def encoded_items(task: GradientTask, *, max_length: int) -> list[list[EncodedItem]]:
    """The items of each objective as ids."""
    tokenizer = load_tokenizer_file(task.warehouse.stream(task.manifest.dataset) / "tokenizer.json")
    eot_id = task.manifest.tokenizer.eot_id
    return [
        [
            encode_item(item, tokenizer=tokenizer, eot_id=eot_id, max_length=max_length)
            for item in read_items(objective, task.environment.folder)
        ]
        for objective in task.environment.objectives
    ]


def gradient_products(
    task: GradientTask, budget: GradientBudget, *, progress: Callable[[str], None]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """<grad S_o, P grad L> of every batch of each domain, and <grad L, P grad L> of every two of them.

    Shapes (N, B, D) and (M, M), domain by domain; 0 without samples. P comes from as many natural
    batches as a domain has, and from the optimiser's state beside the model where that is larger.

    Raises:
        InputError: If the model has a kind of objective or of layer that gradients cannot be taken of.
        TrainingError: If a gradient is not finite.
    """
    model = get_device(None).module_to_device(load_model(task.model, task.manifest)).eval()
    space = DomainSpace.of_dataset(task.manifest)
    items = encoded_items(task, max_length=model.max_length)
    sketch = Sketch(_scale(task, model, space, budget))
    wanted = []
    for objective, of in zip(task.environment.objectives, items, strict=True):
        score_gradient(model, of[: budget.items], training=task.training)
        wanted.append(sketch(_taken(model, objective.name)))
        progress(f"gradient of objective {objective.name}, {len(of[: budget.items])} items")
    active = np.flatnonzero(space.active_N)
    found = []
    for done, index in enumerate(active, start=1):
        for ids in _rows(task, int(index), budget):
            loss_gradient(model, ids, training=task.training)
            found.append(sketch(_taken(model, space.names[index][1])))
        progress(f"gradients of {done} of {len(active)} domains")
    batches_MK = torch.stack(found)
    size, chosen_M = len(space) * budget.batches, np.repeat(space.active_N, budget.batches)
    products_MD, gram_MM = np.zeros((size, len(items))), np.zeros((size, size))
    products_MD[chosen_M] = (batches_MK @ torch.stack(wanted).T).numpy()
    gram_MM[np.ix_(chosen_M, chosen_M)] = (batches_MK @ batches_MK.T).numpy()
    return products_MD.reshape(len(space), budget.batches, len(items)), gram_MM


SKETCH = 1_048_573
"""Numbers of a sketch; a prime, so that no column of a weight matrix meets itself."""


class Sketch:
    """Gradients in AdamW's metric as short vectors that keep inner products.

    A vector longer than the sketch is folded into it: every number gets a random sign, and those that are
    a multiple of its size apart are added. Inner products are unbiased; their error is about the product
    of the lengths over the root of the size.

    Args:
        scale: Diagonal of P, tensor by tensor.
        most: Largest size.
    """

    def __init__(self, scale: Sequence[Tensor], *, most: int = SKETCH) -> None:
        self._root = [p.sqrt() for p in scale]
        total = sum(p.numel() for p in scale)
        self.size = min(most, total)
        self._exact = total <= most

    def __call__(self, gradient: Sequence[Tensor]) -> Tensor:
        """The sketch of a gradient, shape (K,), float32, on the CPU."""
        if self._exact:
            return torch.cat([(r * g).flatten().cpu() for r, g in zip(self._root, gradient, strict=True)])
        found_K = torch.zeros(self.size)
        signs = torch.Generator().manual_seed(0)
        for root, grad in zip(self._root, gradient, strict=True):
            flat = (root * grad).flatten().cpu()
            flat *= torch.randint(2, flat.shape, generator=signs, dtype=torch.int8) * 2 - 1
            whole = len(flat) // self.size * self.size
            found_K += flat[:whole].view(-1, self.size).sum(0)
            found_K[: len(flat) - whole] += flat[whole:]
        return found_K


def rate_sum(samples: int, training: TrainingSettings) -> float:
    """Sum of the learning rates of all updates of a run of so many samples."""
    total = max(1, samples // training.batch_size)
    return training.peak_rate * sum(
        learning_rate_factor(batch, total=total, settings=training) for batch in range(total)
    )


def score_gradient(model: LanguageModel, items: Sequence[EncodedItem], *, training: TrainingSettings) -> None:
    """Leaves the gradient of the mean score (Eq. 1) of some items in the weights' `grad`.

    Args:
        model: The model.
        items: At least one.
        training: Says in which precision passes compute, as in a run.
    """
    model.zero_grad(set_to_none=True)
    device = next(model.parameters()).device
    for batch in batches_by_length([len(item.ids) for item in items], batch_tokens=PASS_TOKENS):
        chosen = [items[index] for index in batch]
        ids_BL = torch.zeros(len(chosen), max(len(item.ids) for item in chosen), dtype=torch.int64)
        wanted_BL = torch.zeros(ids_BL.shape)
        for row, item in enumerate(chosen):
            ids_BL[row, : len(item.ids)] = torch.tensor(item.ids)
            scored = len(item.ids) - item.answer_start
            wanted_BL[row, item.answer_start : len(item.ids)] = 1 / (scored * len(items))
        with precision_context(training):
            losses_BL = _token_losses(model, ids_BL.to(device))
        (-(losses_BL * wanted_BL[:, 1:].to(device)).sum()).backward()


def loss_gradient(model: LanguageModel, ids_SL: Tensor, *, training: TrainingSettings) -> None:
    """Leaves the gradient of the mean loss per token of some samples in the weights' `grad`.

    Args:
        model: The model.
        ids_SL: Token ids.
        training: Says how large a pass may be, as in a run, and its precision.
    """
    model.zero_grad(set_to_none=True)
    device = next(model.parameters()).device
    for part_BL in ids_SL.split(training.rows_at_a_time(training.batch_size)):
        with precision_context(training):
            loss = model({"input_ids": part_BL.to(device)})["loss"]
        (loss * (len(part_BL) / len(ids_SL))).backward()


def _token_losses(model: LanguageModel, ids_BL: Tensor) -> Tensor:
    """Cross entropy of every token but the first given those before it, nats, shape (B, L - 1)."""
    logits_BLV = model.network(**model.whole_view(ids_BL)).logits[:, :-1].float()
    return torch.nn.functional.cross_entropy(
        logits_BLV.flatten(0, 1), ids_BL[:, 1:].flatten(), reduction="none"
    ).view(len(ids_BL), -1)


def _taken(model: LanguageModel, what: str) -> list[Tensor]:
    """The gradients of all weights that learn, which the model no longer holds."""
    taken = []
    for weight in model.parameters():
        if weight.requires_grad:
            grad = torch.zeros_like(weight) if weight.grad is None else weight.grad.detach()
            if not torch.isfinite(grad).all():
                raise TrainingError(
                    f"the gradient of {what} is not finite; set precision: fp32 in the training file"
                )
            taken.append(grad)
    model.zero_grad(set_to_none=True)
    return taken


def _scale(
    task: GradientTask, model: LanguageModel, space: DomainSpace, budget: GradientBudget
) -> list[Tensor]:
    """1 / (sqrt(v) + eps) of every weight that learns, v as a run has it once it is on its way.

    An optimiser's state alone will not do: where the text before the run left a weight in peace for
    long, v is close to 0, and a run fills it within its first batches.
    """
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    squares = _natural_squares(task, model, space, budget)
    file = Path(task.model, OPTIMIZER_FILE) if isinstance(task.model, str) else None
    if file is not None and file.is_file():
        with readable(
            file, what="the state of an optimiser", fix="remove this file, or train the model again"
        ):
            state = torch.load(file, map_location="cpu", weights_only=True)["state"]
        if len(state) != len(weights):
            raise InputError(
                f"{file} has the state of {len(state)} weights, but the model has "
                f"{len(weights)}; remove this file"
            )
        squares = [
            torch.maximum(square, state[i]["exp_avg_sq"].to(square)) for i, square in enumerate(squares)
        ]
    return [1 / (square.sqrt() + task.training.epsilon) for square in squares]


def _natural_squares(
    task: GradientTask, model: LanguageModel, space: DomainSpace, budget: GradientBudget
) -> list[Tensor]:
    """Mean square of the gradients of batches of natural mixing, as large as those of the run."""
    rng = np.random.default_rng(task.training.seed)
    counts_N = rng.multinomial(budget.batches * budget.samples, space.natural_N)
    pool_SL = torch.cat(
        [_sample(task, int(index), int(counts_N[index])) for index in np.flatnonzero(counts_N)]
    )
    batches = pool_SL[rng.permutation(len(pool_SL))].split(task.training.batch_size)
    squares = [torch.zeros_like(weight) for weight in model.parameters() if weight.requires_grad]
    for ids in batches:
        loss_gradient(model, ids, training=task.training)
        for square, grad in zip(squares, _taken(model, "natural mixing"), strict=True):
            square += grad**2 / len(batches)
    return squares


def _rows(task: GradientTask, index: int, budget: GradientBudget) -> list[Tensor]:
    """B batches of one domain, of distinct samples where it has enough of them."""
    ids_SL = _sample(task, index, budget.batches * budget.samples)
    return (
        list(ids_SL.tensor_split(budget.batches))
        if len(ids_SL) >= budget.batches
        else [ids_SL] * budget.batches
    )


def _sample(task: GradientTask, index: int, number: int) -> Tensor:
    """Samples of a domain, evenly over its shards."""
    stream = task.manifest.streams[index]
    rows = sample_rows(task.warehouse, task.manifest, stream, number)
    return torch.from_numpy(rows[:number].astype(np.int64))
