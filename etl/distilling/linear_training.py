"""Training of linear text models: any texts, any labels.

The model is prior + correction. The prior (from keywords, or zero) is kept as it is; the
correction is learned by cross-entropy with feature dropout, and a feature may be corrected the
more the rarer it is. That keeps function words, which tell the style of a source and not its
topic, from deciding about texts of other origins.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from dmix.etl.classifiers.features import NUM_FEATURES, WordTable, document_features
from dmix.etl.classifiers.linear import LinearModel
from dmix.warehouse_schema.taxonomy import Taxonomy

Rarity = tuple[float, float]
"""Share of documents from which on a feature counts nothing, and from which on it counts fully."""


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """How a linear model is trained; the defaults were chosen on whole origins held out."""

    epochs: int = 3
    batch_size: int = 256
    learning_rate: float = 0.01
    """Of Adam, falling linearly to zero."""
    dropout: float = 0.3
    """Share of the features of a document that a training step does not see."""
    scale: float = 60.0
    """Factor of the mean weight in the logits; larger ones make corrections smaller."""
    prior_mass: float = 5.0
    mass_rarity: Rarity = (0.2, 0.001)
    correction_rarity: Rarity = (0.1, 0.005)
    seed: int = 0


@dataclass(frozen=True, eq=False)
class FeatureRows:
    """Distinct features of n documents, as `document_features` gives them."""

    features: NDArray[np.int32]
    offsets: NDArray[np.int32]

    @classmethod
    def of(cls, token_rows: Sequence[NDArray[np.unsignedinteger]], *, table: WordTable) -> "FeatureRows":
        """The features of documents given as token ids."""
        lengths = np.array([len(row) for row in token_rows], np.int64)
        ids = np.concatenate([np.empty(0, np.uint32), *token_rows]).astype(np.uint32)
        return cls(*document_features(ids, lengths, table=table))

    def __len__(self) -> int:
        return len(self.offsets)

    def take(
        self, rows: NDArray[np.integer], *, keep: Callable[[int], NDArray] | None = None
    ) -> "FeatureRows":
        """The rows with these numbers; `keep` may drop features, given how many there are."""
        ends = np.append(self.offsets[1:], len(self.features))
        counts = ends[rows] - self.offsets[rows]
        starts = np.cumsum(counts) - counts
        picked = self.features[np.repeat(self.offsets[rows] - starts, counts) + np.arange(counts.sum())]
        if keep is None:
            return FeatureRows(picked, starts.astype(np.int32))
        kept = keep(len(picked))
        offsets = np.searchsorted(np.repeat(np.arange(len(rows)), counts)[kept], np.arange(len(rows)))
        return FeatureRows(picked[kept], offsets.astype(np.int32))

    def document_shares(self) -> NDArray[np.float64]:
        """Share of the documents that have each feature, shape (NUM_FEATURES,)."""
        return np.bincount(self.features, minlength=NUM_FEATURES) / max(1, len(self))


def rarity(shares: NDArray[np.float64], bounds: Rarity) -> NDArray[np.float32]:
    """How telling features are, in [0, 1], falling with the logarithm of their document share."""
    highest, lowest = bounds
    telling = np.log(highest / np.maximum(shares, 1e-9)) / np.log(highest / lowest)
    return np.clip(telling, 0.0, 1.0).astype(np.float32)


def train_linear(
    rows: FeatureRows,
    labels: NDArray[np.integer],
    *,
    taxonomy: Taxonomy,
    shares: NDArray[np.float64],
    prior: NDArray[np.float32] | None = None,
    settings: TrainingSettings | None = None,
) -> LinearModel:
    """The linear model of labelled documents; deterministic on one kind of machine.

    Args:
        rows: Features of n documents, at least one batch.
        labels: Label of each, shape (n,).
        taxonomy: What the labels count in.
        shares: Document share of each feature in text at large (`FeatureRows.document_shares`).
        prior: Weights to start from, shape (NUM_FEATURES, labels); None for zero.
        settings: How to train.
    """
    settings = settings or TrainingSettings()
    rng = np.random.default_rng(settings.seed)
    mass = rarity(shares, settings.mass_rarity)
    freedom = rarity(shares, settings.correction_rarity)
    fixed = np.zeros((NUM_FEATURES, len(taxonomy)), np.float32) if prior is None else prior
    start = torch.from_numpy(np.column_stack([fixed * mass[:, None], mass]))
    loose = torch.from_numpy(mass * freedom)
    correction = torch.zeros((NUM_FEATURES, len(taxonomy)), requires_grad=True)
    optimizer = torch.optim.Adam([correction], lr=settings.learning_rate, betas=(0.9, 0.99))
    target = torch.from_numpy(labels.astype(np.int64))
    batches = len(rows) // settings.batch_size
    for epoch in range(settings.epochs):
        order = rng.permutation(len(rows))
        for number in range(batches):
            picked = order[number * settings.batch_size : (number + 1) * settings.batch_size]
            batch = rows.take(picked, keep=lambda n: rng.random(n) >= settings.dropout)
            features, offsets = torch.from_numpy(batch.features), torch.from_numpy(batch.offsets)
            sums = _bag(features, start, offsets)
            learned = _bag(features, correction, offsets, per_sample_weights=loose[features])
            mean = (sums[:, :-1] + learned) / (sums[:, -1:] + settings.prior_mass)
            loss = torch.nn.functional.cross_entropy(settings.scale * mean, target[picked])
            optimizer.zero_grad()
            loss.backward()
            progress = (epoch * batches + number) / (settings.epochs * batches)
            optimizer.param_groups[0]["lr"] = settings.learning_rate * (1 - progress)
            optimizer.step()
    weight = settings.scale * mass[:, None] * (fixed + freedom[:, None] * correction.detach().numpy())
    return LinearModel(
        taxonomy=taxonomy,
        weight=weight.astype(np.float16),
        mass=mass.astype(np.float16),
        bias=np.zeros(len(taxonomy), np.float32),
        prior_mass=settings.prior_mass,
    )


def fit_temperature(logits: NDArray[np.float32], labels: NDArray[np.integer]) -> float:
    """The divisor of the logits, between 0.25 and 8, with the lowest cross-entropy on labelled documents."""
    scores, target = torch.from_numpy(logits), torch.from_numpy(labels.astype(np.int64))
    grid = np.geomspace(0.25, 8.0, 101)
    losses = [float(torch.nn.functional.cross_entropy(scores / t, target)) for t in grid]
    return float(grid[int(np.argmin(losses))])


def cooled(model: LinearModel, temperature: float) -> LinearModel:
    """`model` with its logits divided by `temperature`."""
    return LinearModel(
        taxonomy=model.taxonomy,
        weight=(model.weight.astype(np.float32) / temperature).astype(np.float16),
        mass=model.mass,
        bias=model.bias / np.float32(temperature),
        prior_mass=model.prior_mass,
    )


def _bag(
    features: torch.Tensor,
    table: torch.Tensor,
    offsets: torch.Tensor,
    *,
    per_sample_weights: torch.Tensor | None = None,
) -> torch.Tensor:
    return torch.nn.functional.embedding_bag(
        features, table, offsets, mode="sum", per_sample_weights=per_sample_weights
    )
