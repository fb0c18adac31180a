"""What a model is worth to an environment: Eq. 1, the score of a model on each objective.

Score(M, D_i) = mean over items of the mean log-probability, in nats per token, of the answer given
the question. The model reads [end of text] + prompt + answer. Where that is too long, the prompt
loses its beginning; an answer that is too long by itself loses its end and is counted.

An item with choices scores log p(right) - log of the sum of p over all choices, p being the probability of a
choice's whole text given the question: the log-probability of the right one among them, in nats.

A score does not depend on the batch size or on the number of ranks: whole batches go to ranks,
and the mean is taken over items in file order in float64.
"""

import logging
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import numpy as np
import torch
from composer.utils import dist
from tokenizers import Tokenizer

from dmix.mixing.trajectories.encoding import EncodedItem, encode_item
from dmix.mixing.trajectories.objectives import Environment, Item, read_items
from dmix.training.model.language_model import LanguageModel
from dmix.training.model.model_stack import ModelStack
from dmix.warehouse_schema.errors import TrainingError
from dmix.warehouse_schema.files.manifests import TokenizerFile
from dmix.warehouse_schema.progress import counted

logger = logging.getLogger(__name__)

BATCH_TOKENS = 8192
# A model whose answers have, on average, this many times the loss of guessing (log of the vocabulary) is
# broken: one that learned other text well comes to two or three times.
_TIMES_GUESSING = 10

# (ids, rows, positions) -> losses of the chosen tokens, as `LanguageModel.losses_at`
LossesAt = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


class Scorer:
    """Computes the feedback of an environment; the items are encoded once.

    Attributes:
        names: Names of the D objectives.
        item_ids: Ids of all items, objective after objective.

    Args:
        environment: The D objectives.
        tokenizer: Of the dataset.
        tokenizer_file: Says which id ends a text.
        max_length: Longest sequence that the model reads.
        batch_tokens: Tokens of one forward pass, padding included; no score depends on it.
    """

    def __init__(
        self,
        environment: Environment,
        *,
        tokenizer: Tokenizer,
        tokenizer_file: TokenizerFile,
        max_length: int,
        batch_tokens: int = BATCH_TOKENS,
    ) -> None:
        self.names = environment.names
        self.item_ids: list[str] = []
        # what the model reads: one sequence an item, or one a choice, the right one first
        self._sequences: list[EncodedItem] = []
        self._sequences_of_item: list[list[int]] = []
        self._objective_of_item: list[int] = []
        for index, objective in enumerate(environment.objectives):
            items = read_items(objective, environment.folder)
            encoded = [
                [
                    encode_item(
                        text, tokenizer=tokenizer, eot_id=tokenizer_file.eot_id, max_length=max_length
                    )
                    for text in item_texts(item)
                ]
                for item in items
            ]
            cut = sum(any(sequence.cut for sequence in sequences) for sequences in encoded)
            if cut:
                logger.warning(
                    "objective %s: dmix cut %d of %d answers to the model's context length of %d tokens",
                    objective.name,
                    cut,
                    len(encoded),
                    max_length,
                )
            self.item_ids += [item.item_id for item in items]
            for sequences in encoded:
                first = len(self._sequences)
                self._sequences += sequences
                self._sequences_of_item.append(list(range(first, len(self._sequences))))
            self._objective_of_item += [index] * len(encoded)
        self._guessing = math.log(max(2, tokenizer_file.vocab_size))
        lengths = [len(sequence.ids) for sequence in self._sequences]
        self._batches = batches_by_length(lengths, batch_tokens=batch_tokens)

    def scores(
        self, model: LanguageModel, *, precision: AbstractContextManager[None] | None = None
    ) -> np.ndarray:
        """Score of each objective in nats per token, float64, shape (D,).

        Every rank has to call it; all get the same numbers.

        Args:
            model: The model; its mode is restored afterwards.
            precision: Autocast context of the forward passes.
        """
        return self._by_objective(self.item_scores(model, precision=precision))

    def stack_scores(
        self, stack: ModelStack, *, precision: AbstractContextManager[None] | None = None
    ) -> np.ndarray:
        """Scores of the P models of a stack, each batch of items one pass of them all.

        Args:
            stack: The models.
            precision: Autocast context of the passes.

        Returns:
            Nats a token, float64, shape (P, D).
        """
        with torch.no_grad(), precision or nullcontext():
            scores_IP = self._score_items(stack.losses_at, device=stack.device, together=False)
        return self._by_objective(scores_IP).T

    @property
    def item_objectives(self) -> list[str]:
        """Name of the objective of each item, in the order of `item_ids`."""
        return [self.names[index] for index in self._objective_of_item]

    def item_scores(
        self, model: LanguageModel, *, precision: AbstractContextManager[None] | None = None
    ) -> np.ndarray:
        """Score of each item in nats per token, float64, in the order of `item_ids`; as `scores`."""
        was_training = model.training
        model.eval()
        try:
            with torch.no_grad(), precision or nullcontext():
                device = next(model.parameters()).device
                return self._score_items(model.losses_at, device=device, together=model.sharded)
        finally:
            model.train(was_training)

    def _score_items(self, losses_at: LossesAt, *, device: torch.device, together: bool) -> np.ndarray:
        """Scores of all items, shape (I,), or (I, P) for the losses of a stack."""
        mine = counted(self._batches_of_rank(together=together), "scoring batch")
        scored = [pair for batch in mine for pair in self._score_batch(losses_at, batch, device=device)]
        merged = dict(pair for part in dist.all_gather_object(scored) for pair in part)
        self._warn_of_a_broken_model(float(np.min(np.mean(list(merged.values()), axis=0))))
        return np.array(
            [
                merged[own[0]]
                if len(own) == 1
                else choice_score(np.array([merged[n] * self._sequences[n].answer_tokens for n in own]))
                for own in self._sequences_of_item
            ]
        )

    def _warn_of_a_broken_model(self, mean_score: float) -> None:
        """Says so if answers are, in nats per token, far less probable than by guessing."""
        if mean_score < -_TIMES_GUESSING * self._guessing and dist.get_global_rank() == 0:
            logger.warning(
                "the model gives the answers %.3g nats per token, and guessing gives %.3g: its training"
                " diverged, or its weights are damaged",
                mean_score,
                -self._guessing,
            )

    def _by_objective(self, scores_I: np.ndarray) -> np.ndarray:
        """Means over the items of each objective, along the first dimension."""
        objective_I = np.array(self._objective_of_item)
        return np.array([scores_I[objective_I == index].mean(axis=0) for index in range(len(self.names))])

    def _batches_of_rank(self, *, together: bool) -> list[list[int]]:
        """The batches that this rank scores.

        Args:
            together: Give every rank equally many, because their passes wait for each other; the
                last round then begins anew with the first batch, whose scores come out the same.
        """
        rank, ranks, count = dist.get_global_rank(), dist.get_world_size(), len(self._batches)
        rounds = -(-count // ranks) * ranks if together else count
        return [self._batches[index % count] for index in range(rank, rounds, ranks)]

    def _score_batch(
        self, losses_at: LossesAt, batch: Sequence[int], *, device: torch.device
    ) -> list[tuple[int, np.ndarray]]:
        """(sequence, mean log-probability of its answer's tokens) for each sequence of a batch."""
        items = [self._sequences[index] for index in batch]
        ids_BL = torch.zeros(len(items), max(len(item.ids) for item in items), dtype=torch.int64)
        for row, item in enumerate(items):
            ids_BL[row, : len(item.ids)] = torch.tensor(item.ids)
        counts = [item.answer_tokens for item in items]
        rows_T = torch.arange(len(items)).repeat_interleave(torch.tensor(counts))
        positions_T = torch.cat([torch.arange(item.answer_start, len(item.ids)) for item in items])
        losses_T = losses_at(ids_BL.to(device), rows_T.to(device), positions_T.to(device))
        parts = losses_T.double().cpu().split(counts, dim=-1)
        return [(index, -part.mean(-1).numpy()) for index, part in zip(batch, parts, strict=True)]


def no_finite_score(*, step: int) -> TrainingError:
    """What is wrong with a model that has no finite score after a step; step 0 is before training."""
    when = f"after step {step}" if step else "before training"
    return TrainingError(
        f"no score is finite {when}, because the model gives no probabilities; lower the learning rate, or"
        " start from another model"
    )


def item_texts(item: Item) -> list[Item]:
    """What a model reads of an item: the item itself, or one for each choice, the right one first."""
    if not item.choices:
        return [item]
    wrong = [choice for choice in item.choices if choice != item.answer]
    return [replace(item, answer=choice, choices=()) for choice in (item.answer, *wrong)]


def choice_score(totals_C: np.ndarray) -> np.ndarray:
    """Log-probability of the right one among its choices, in nats, shape ().

    Args:
        totals_C: Log-probability of each choice's whole text, the right one first, shape (C,) or (C, P).
    """
    peak = totals_C.max(axis=0)
    score: np.ndarray = totals_C[0] - peak - np.log(np.exp(totals_C - peak).sum(axis=0))
    return score


def batches_by_length(lengths: Sequence[int], *, batch_tokens: int) -> list[list[int]]:
    """Indices grouped so that rows of similar length share a batch and padding stays small.

    Args:
        lengths: Tokens of each item.
        batch_tokens: Largest rows times longest row; a longer single item still gets its batch.
    """
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        # the first row of a batch is its longest, because lengths fall
        if batches and (len(batches[-1]) + 1) * lengths[batches[-1][0]] <= batch_tokens:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches
