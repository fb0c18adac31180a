"""How probable a model finds each scored token of items: what counts are taken relative to."""

from collections.abc import Sequence

import numpy as np
import torch
from composer.utils import get_device

from dmix.mixing.space.domains import Vector
from dmix.mixing.trajectories.encoding import EncodedItem
from dmix.training.model.language_model import LanguageModel
from dmix.training.scoring.environment import BATCH_TOKENS, batches_by_length
from dmix.warehouse_schema.progress import counted


def token_probabilities(model: LanguageModel, items: Sequence[EncodedItem]) -> Vector:
    """Probability of every scored token, item after item, float64; all above 0.

    Args:
        model: The model; moved to the device of this process, its mode is left as it is.
        items: Encoded for the model's tokenizer, no longer than it reads.
    """
    model = get_device(None).module_to_device(model)
    device = next(model.parameters()).device
    found: dict[int, np.ndarray] = {}
    batches = batches_by_length([len(item.ids) for item in items], batch_tokens=BATCH_TOKENS)
    for batch in counted(batches, "reading batch"):
        chosen = [items[index] for index in batch]
        ids_BL = torch.zeros(len(chosen), max(len(item.ids) for item in chosen), dtype=torch.int64)
        for row, item in enumerate(chosen):
            ids_BL[row, : len(item.ids)] = torch.tensor(item.ids)
        counts = [len(item.ids) - item.answer_start for item in chosen]
        rows_T = torch.arange(len(chosen)).repeat_interleave(torch.tensor(counts))
        places_T = torch.cat([torch.arange(item.answer_start, len(item.ids)) for item in chosen])
        losses_T = model.losses_at(ids_BL.to(device), rows_T.to(device), places_T.to(device))
        for index, part_T in zip(batch, losses_T.double().cpu().split(counts), strict=True):
            # a probability of exactly 0 has no logarithm
            found[index] = np.maximum(np.exp(-part_T.numpy()), np.finfo(np.float64).tiny)
    return np.concatenate([found[index] for index in range(len(items))])
