"""Text from a causal language model: sampled from the start token at temperature 1.

Document i takes its random numbers from a counter-based stream with the key (seed, i), and each
token is drawn by inverting the cumulative distribution at one of them. Sums of floating-point
numbers depend in their last bits on the batch that they are made in, so the batch is fixed too:
a block is a run of consecutive indices, written together from beginning to end. Whoever writes a
block, in whatever order, on the same kind of machine, writes the same.

Rows that have ended stay in the batch until half of it has; then the batch is made smaller. All
rows have the same length at any time, so nothing is padded. Traded away: new documents do not
take the place of ended ones, which would tie a document's batch to those before it.

Shapes: B documents of a block, R rows still in the batch, T the length cap, V ids.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dmix.etl.synthetic.source_models import SourceModel
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.progress import doing, during
from dmix.warehouse_schema.sizes import num_text

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, kw_only=True)
class GeneratedDocument:
    """One document that a model wrote.

    Attributes:
        index: Its index.
        text: Its text; may be empty.
        tokens: Tokens that were drawn, the end not counted.
        ended: True if the model ended it, False if the length cap did.
    """

    index: int
    text: str
    tokens: int
    ended: bool


@dataclass(frozen=True, kw_only=True)
class GeneratedBlock:
    """The documents of a block, and what writing them cost.

    Attributes:
        documents: In the order of their indices.
        passes: Passes over the model.
        rows: Documents in the batch, summed over passes.
        seconds: Time of the passes.
    """

    documents: tuple[GeneratedDocument, ...]
    passes: int
    rows: int
    seconds: float

    @property
    def tokens(self) -> int:
        return sum(document.tokens for document in self.documents)


class BlockWriter(Protocol):
    """A loaded model that writes blocks."""

    def __call__(self, model: SourceModel, indices: Sequence[int], *, seed: int) -> GeneratedBlock: ...


def document_uniforms(seed: int, index: int, count: int) -> NDArray[np.float64]:
    """The first `count` random numbers in [0, 1) of a document, float64, shape (count,)."""
    return np.random.Generator(np.random.Philox(key=[seed, index])).random(count)


def draw_tokens(logits_RV: Tensor, uniforms_R: Tensor) -> Tensor:
    """For each row, the id at which the cumulative probability first exceeds its random number.

    Args:
        logits_RV: Scores, float; -inf for ids that must not come.
        uniforms_R: Random numbers in [0, 1), float64.

    Returns:
        int64, shape (R,).
    """
    cumulative_RV = torch.softmax(logits_RV.float(), dim=-1).cumsum(dim=-1, dtype=torch.float64)
    # relative to the last sum, which rounding may leave a little below or above 1
    thresholds_R1 = uniforms_R[:, None] * cumulative_RV[:, -1:]
    drawn_R = torch.searchsorted(cumulative_RV, thresholds_R1, right=True)[:, 0]
    return drawn_R.clamp(max=logits_RV.shape[1] - 1)


@during("")
def generate_block(
    network: "PreTrainedModel", model: SourceModel, indices: Sequence[int], *, seed: int
) -> GeneratedBlock:
    """Writes the documents of one block.

    Args:
        network: The loaded model.
        model: Start, end, length cap and tokenizer.
        indices: Consecutive document indices, at least one.
        seed: Seed of all documents.

    Raises:
        InputError: If the model cannot go on from what it has written.
    """
    device = next(network.parameters()).device
    cap = model.max_tokens
    uniforms_BT = torch.from_numpy(np.stack([document_uniforms(seed, i, cap) for i in indices])).to(device)
    drawn_BT = torch.full((len(indices), cap), -1, dtype=torch.int64, device=device)
    unnamed = _unnamed_ids(model, device)
    alive_R = torch.arange(len(indices), device=device)
    ended_R = torch.zeros(len(indices), dtype=torch.bool, device=device)
    inputs_R1 = torch.full((len(indices), 1), model.start_id, device=device)
    cache: Any = None
    passes = rows = 0
    started = time.perf_counter()
    with torch.inference_mode():
        for place in range(cap):
            doing(f"token {place + 1} of at most {cap} in {num_text(len(alive_R), 'document')}")
            output = network(input_ids=inputs_R1, past_key_values=cache, use_cache=True)
            cache = _cache_of(output, model)
            passes, rows = passes + 1, rows + len(alive_R)
            logits_RV = output.logits[:, -1].float()
            logits_RV[:, unnamed] = -torch.inf
            tokens_R = draw_tokens(logits_RV, uniforms_BT[alive_R, place])
            drawn_BT[alive_R[~ended_R], place] = tokens_R[~ended_R]
            ended_R |= tokens_R == model.end_id
            left = int((~ended_R).sum())
            if not left:
                break
            if left <= len(alive_R) // 2:
                kept = torch.nonzero(~ended_R)[:, 0]
                cache.batch_select_indices(kept)
                alive_R, ended_R, tokens_R = alive_R[kept], ended_R[kept], tokens_R[kept]
            inputs_R1 = tokens_R[:, None]
    drawn = drawn_BT.cpu().numpy()
    seconds = time.perf_counter() - started
    documents = [_document(model, i, row) for i, row in zip(indices, drawn, strict=True)]
    return GeneratedBlock(documents=tuple(documents), passes=passes, rows=rows, seconds=seconds)


def _cache_of(output: Any, model: SourceModel) -> Any:
    """Keys and values after a pass; without them, the next token would follow from the last one alone."""
    cache = getattr(output, "past_key_values", None)
    if cache is None:
        raise InputError(
            f"model {model.name!r} ({model.config.model_type}) has no cache of keys and values; choose a "
            "decoder with attention, such as Pythia, or use --engine vllm"
        )
    return cache


def _document(model: SourceModel, index: int, drawn_T: NDArray[np.int64]) -> GeneratedDocument:
    """The document of a row of ids, -1 where none was drawn."""
    ids = drawn_T[drawn_T >= 0]
    ended = bool(len(ids)) and int(ids[-1]) == model.end_id
    ids = ids[:-1] if ended else ids
    text = model.tokenizer.decode(ids.tolist(), skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return GeneratedDocument(index=index, text=text, tokens=len(ids), ended=ended)


def _unnamed_ids(model: SourceModel, device: torch.device) -> Tensor:
    """Ids of the model that are no token, with which models round up their vocabulary."""
    named = np.zeros(model.config.vocab_size, bool)
    named[list(model.tokenizer.get_vocab().values())] = True
    return torch.from_numpy(np.flatnonzero(~named)).to(device)
