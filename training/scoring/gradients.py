"""The passes of the gradient estimator: gradients of objectives and of domains, and their products.

Every gradient is scaled by the root of AdamW's metric and folded into a sketch of a million numbers with
random signs, which keeps inner products to about a thousandth of the lengths; a smaller model keeps its
gradient as it is. Memory: four times the weights, and a sketch for each objective and batch. Shapes:
N domains, B batches of a domain, M = N B, D objectives, K numbers of a sketch.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dmix.mixing.effects.gradients import GradientBudget
from dmix.mixing.space.domains import DomainSpace
from dmix.mixing.trajectories.encoding import EncodedItem
from dmix.training.model.language_model import LanguageModel
from dmix.training.model.precision import precision_context
from dmix.training.model.settings import TrainingSettings, learning_rate_factor
from dmix.training.scoring.environment import batches_by_length
from dmix.training.scoring.gradient_task import PASS_TOKENS, SKETCH, GradientTask, encoded_items
from dmix.warehouse_schema.errors import InputError, TrainingError
from dmix.warehouse_schema.files.weights import readable
from dmix.warehouse_schema.progress import counted
from dmix.warehouse_schema.sizes import num_text


def gradient_products(
    model: LanguageModel,
    task: GradientTask,
    budget: GradientBudget,
    *,
    moments: Sequence[Tensor] = (),
    progress: Callable[[str], None],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """<grad S_o, P grad L> of every batch of each domain, and <grad L, P grad L> of every two of them.

    Shapes (N, B, D) and (M, M), domain by domain; 0 without samples. P comes from as many natural
    batches as a domain has, and from the optimiser's moments where those are larger.

    Args:
        model: The model, which keeps its weights and its mode and loses its gradients.
        task: Text and items.
        budget: How much of both.
        moments: The optimiser's mean squares of gradients, for each weight that learns; may be left out.
        progress: Receives a line per objective and domain.

    Raises:
        InputError: If the model has a kind of objective or of layer that gradients cannot be taken of.
        TrainingError: If a gradient is not finite.
    """
    training = model.training
    try:
        return _products(model.eval(), task, budget, moments=moments, progress=progress)
    finally:
        model.train(training)


def _products(
    model: LanguageModel,
    task: GradientTask,
    budget: GradientBudget,
    *,
    moments: Sequence[Tensor],
    progress: Callable[[str], None],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    space = DomainSpace.of_dataset(task.manifest)
    items = encoded_items(task, max_length=model.max_length)
    sketch = Sketch(_scale(task, model, space, budget, moments=moments))
    wanted = []
    for objective, of in zip(task.environment.objectives, items, strict=True):
        score_gradient(model, of[: budget.items], training=task.training)
        wanted.append(sketch(_taken(model, objective.name)))
        progress(f"gradient of objective {objective.name}, {num_text(len(of[: budget.items]), 'item')}")
    active = np.flatnonzero(space.active_N)
    found = []
    for done, index in enumerate(active, start=1):
        for ids in counted(_rows(task, int(index), budget), "gradient batch"):
            loss_gradient(model, ids, training=task.training)
            found.append(sketch(_taken(model, space.names[index][1])))
        progress(f"gradients of {done} of {num_text(len(active), 'domain')}")
    batches_MK = torch.stack(found)
    size, chosen_M = len(space) * budget.batches, np.repeat(space.active_N, budget.batches)
    products_MD, gram_MM = np.zeros((size, len(items))), np.zeros((size, size))
    products_MD[chosen_M] = (batches_MK @ torch.stack(wanted).T).numpy()
    gram_MM[np.ix_(chosen_M, chosen_M)] = (batches_MK @ batches_MK.T).numpy()
    return products_MD.reshape(len(space), budget.batches, len(items)), gram_MM


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
    batches = batches_by_length([len(item.ids) for item in items], batch_tokens=PASS_TOKENS)
    for batch in counted(batches, "items, batch"):
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
                raise TrainingError(f"the gradient of {what} is not finite; set precision: fp32")
            taken.append(grad)
    model.zero_grad(set_to_none=True)
    return taken


def load_moments(file: Path) -> list[Tensor]:
    """The mean squares of gradients in a file of an optimiser's state, a tensor for each weight.

    Raises:
        InputError: If the file is damaged.
    """
    with readable(file, what="the state of an optimiser", fix="remove this file, or train the model again"):
        state = torch.load(file, map_location="cpu", weights_only=True)["state"]
        return [state[index]["exp_avg_sq"] for index in range(len(state))]


def _scale(
    task: GradientTask,
    model: LanguageModel,
    space: DomainSpace,
    budget: GradientBudget,
    *,
    moments: Sequence[Tensor],
) -> list[Tensor]:
    """1 / (sqrt(v) + eps) of every weight that learns, v as a run has it once it is on its way.

    An optimiser's state alone will not do: where the text before the run left a weight in peace for
    long, v is close to 0, and a run fills it within its first batches.
    """
    squares = _natural_squares(task, model, space, budget)
    if moments and len(moments) != len(squares):
        raise InputError(
            f"the optimiser's state is of {num_text(len(moments), 'weight')}, but the model has "
            f"{len(squares)}; remove the file of that state"
        )
    if moments:
        squares = [
            torch.maximum(square, moment.to(square)) for square, moment in zip(squares, moments, strict=True)
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
    for ids in counted(batches, "batch of natural mixing,"):
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
    return torch.from_numpy(task.samples(index, number)[:number].astype(np.int64))
