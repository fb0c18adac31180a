"""Trains the embedded classifier and measures it: `python -m benchmarks.make_assets.classifier --data DIR`.

Writes the weights (`etl/assets/domain_linear.safetensors`) and every figure of
`docs/classifier.md` (`docs/assets/classifier.json`, `docs/assets/classifier.md`). Same data, same
machine: same bytes. Takes some ten minutes on one core.

Trained on: the permissively licensed reference corpora with their weak labels, less one document
in ten, and keyword lists. Measured on: those documents; whole origins, each by a model that has
not seen it; and the origins that no shipped weight may see.
"""

import argparse
import json
import logging
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from benchmarks.make_assets.classifier_report import Judged, confusion_table, figures_table, joined
from benchmarks.make_assets.keyword_model import keyword_forms, keyword_texts, keyword_weights
from benchmarks.make_assets.reference_corpora import COPYLEFT, RESEARCH_ONLY, LabelledDocument, read_reference
from numpy.typing import NDArray

from dmix.etl.classifiers.embedded import WEIGHTS_PATH
from dmix.etl.classifiers.features import WordTable
from dmix.etl.classifiers.keywords import domain_words
from dmix.etl.classifiers.linear import LinearModel
from dmix.etl.distilling.linear_training import (
    FeatureRows,
    TrainingSettings,
    cooled,
    fit_temperature,
    train_linear,
)
from dmix.etl.text.tokens import EMBEDDED, Tokenizer, load_tokenizer
from dmix.warehouse_schema.taxonomy import DEFAULT_TAXONOMY

logger = logging.getLogger(__name__)

NO_LABEL = -1
DOCUMENTS_A_LABEL = 600
"""Training windows of each label, shared among its origins by the square root of their size."""

KEYWORD_TEXTS_A_LABEL = 600
BACKGROUND_AN_ORIGIN = 800
WINDOW_TOKENS = (30, 500)
"""Training windows are cut to a length drawn log-uniformly from here."""

HELD_OUT_ORIGINS = (
    "medquad",
    "movie_reviews",
    "based_cooking",
    "dnd_srd",
    "product_reviews",
    "tatqa_reports",
    "scitldr_abstracts",
    "digitalgov",
    "us_code",
)
"""Each is judged by a model that was trained without it."""

REFERENCE = {
    "held out at random": 0.93,
    "bbc_news (never trained on)": 0.58,
    "medquad (left out)": 0.72,
    "movie_reviews (left out)": 0.71,
    "based_cooking (left out)": 0.87,
}
"""Of a hashed bag of words trained on all sets but the one judged; the mark to be beaten."""


@dataclass(frozen=True, eq=False)
class Corpus:
    """The reference corpora as token ids.

    Attributes:
        rows: Token ids of each of n documents, uint16.
        origins: Where each comes from, shape (n,).
        labels: Label numbers, `NO_LABEL` where there is none, shape (n,).
        held_out: Documents kept out of training at random, one in ten, shape (n,).
    """

    rows: list[NDArray[np.uint16]]
    origins: NDArray[np.str_]
    labels: NDArray[np.int64]
    held_out: NDArray[np.bool_]

    @classmethod
    def of(cls, documents: Iterable[LabelledDocument], *, tokenizer: Tokenizer) -> "Corpus":
        """The corpus of documents, less those without a token."""
        kept = [document for document in documents if document.text]
        ids, lengths = tokenizer.encode([document.text for document in kept])
        rows = np.split(ids.astype(np.uint16), np.cumsum(lengths)[:-1])
        labels = [NO_LABEL if d.domain is None else DEFAULT_TAXONOMY.index(d.domain) for d in kept]
        held_out = [sha256(f"{d.origin}/{d.group}".encode()).digest()[0] % 10 == 0 for d in kept]
        return cls(rows, np.array([d.origin for d in kept]), np.array(labels), np.array(held_out))


@dataclass(frozen=True, eq=False)
class Trainer:
    """What all models of this script share."""

    corpus: Corpus
    tokenizer: Tokenizer
    table: WordTable
    forms: dict[str, list[str]]
    prior: NDArray[np.float32]
    settings: TrainingSettings

    def train(self, *, without: frozenset[str] = frozenset()) -> LinearModel:
        """A model of the permissive corpora, less the held-out documents and some origins."""
        rng = np.random.default_rng(self.settings.seed)
        allowed = ~self.corpus.held_out & ~np.isin(
            self.corpus.origins, sorted(RESEARCH_ONLY | COPYLEFT | without)
        )
        background = self._background(allowed, rng)
        shares = FeatureRows.of([_window(row, (300, 300), rng) for row in background], table=self.table)
        picked = self._balanced(allowed, rng)
        real = [_window(self.corpus.rows[i], WINDOW_TOKENS, rng) for i in picked]
        strewn, strewn_labels = keyword_texts(
            self.forms, background, per_label=KEYWORD_TEXTS_A_LABEL, tokenizer=self.tokenizer, rng=rng
        )
        return train_linear(
            FeatureRows.of([*real, *strewn], table=self.table),
            np.concatenate([self.corpus.labels[picked], strewn_labels]),
            taxonomy=DEFAULT_TAXONOMY,
            shares=shares.document_shares(),
            prior=self.prior,
            settings=self.settings,
        )

    def logits(self, model: LinearModel, chosen: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Logits of the chosen documents, whole, shape (number, labels)."""
        rows = [self.corpus.rows[i] for i in np.flatnonzero(chosen)]
        features = FeatureRows.of(rows, table=self.table)
        return model.logits(features.features, features.offsets)

    def _background(self, allowed: NDArray[np.bool_], rng: np.random.Generator) -> list[NDArray[np.uint16]]:
        """The same number of documents of every origin, labelled or not."""
        chosen: list[int] = []
        for origin in sorted(set(self.corpus.origins[allowed])):
            chosen += rng.choice(
                np.flatnonzero(allowed & (self.corpus.origins == origin)), BACKGROUND_AN_ORIGIN
            ).tolist()
        return [self.corpus.rows[i] for i in chosen]

    def _balanced(self, allowed: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.int64]:
        """About as many documents of each label; small origins come twice rather than vanish."""
        members: dict[int, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
        for i in np.flatnonzero(allowed & (self.corpus.labels != NO_LABEL)):
            members[int(self.corpus.labels[i])][str(self.corpus.origins[i])].append(int(i))
        picked: list[int] = []
        for label in sorted(members):
            roots = {origin: len(rows) ** 0.5 for origin, rows in members[label].items()}
            for origin, rows in members[label].items():
                share = DOCUMENTS_A_LABEL * roots[origin] / sum(roots.values())
                number = min(int(share) + 1, 2 * len(rows))
                picked += rng.choice(rows, number, replace=number > len(rows)).tolist()
        return np.array(picked)


def _window(row: NDArray[np.uint16], bounds: tuple[int, int], rng: np.random.Generator) -> NDArray[np.uint16]:
    """A piece of a document, of a length drawn log-uniformly between the bounds."""
    width = int(np.exp(rng.uniform(*np.log(bounds))))
    start = int(rng.integers(max(1, len(row) - width + 1)))
    return row[start : start + width]


def make_trainer(data: Path, *, settings: TrainingSettings | None = None) -> Trainer:
    """Reads and tokenises the reference corpora, and computes the keyword weights."""
    tokenizer = load_tokenizer(EMBEDDED)
    table = WordTable.of(tokenizer.json_bytes)
    forms = {domain: keyword_forms(words) for domain, words in domain_words().items()}
    return Trainer(
        corpus=Corpus.of(read_reference(data), tokenizer=tokenizer),
        tokenizer=tokenizer,
        table=table,
        forms=forms,
        prior=keyword_weights(forms, tokenizer=tokenizer, table=table),
        settings=settings or TrainingSettings(),
    )


def train_and_measure(trainer: Trainer) -> tuple[LinearModel, list[Judged]]:
    """The model that ships, and every test of it and of the models with one origin left out.

    The temperature is fitted on held-out documents: half at random, half from whole origins left
    out, of permissive corpora alone; one temperature serves all models.
    """
    corpus = trainer.corpus
    never_seen = RESEARCH_ONLY | COPYLEFT
    labelled = corpus.labels != NO_LABEL
    logger.info("training the shipped model")
    model = trainer.train()
    random_part = labelled & corpus.held_out & ~np.isin(corpus.origins, sorted(never_seen))
    tests = [("held out at random", random_part, trainer.logits(model, random_part))]
    for origin in HELD_OUT_ORIGINS:
        logger.info("training without %s", origin)
        chosen = labelled & (corpus.origins == origin)
        without = trainer.train(without=frozenset({origin}))
        tests.append((f"{origin} (left out)", chosen, trainer.logits(without, chosen)))
    temperature = _fit_on_both(tests, corpus.labels)
    for origin in sorted(never_seen & set(corpus.origins[labelled])):
        chosen = labelled & (corpus.origins == origin)
        tests.append((f"{origin} (never trained on)", chosen, trainer.logits(model, chosen)))
    judged = [
        Judged(name, corpus.labels[chosen], torch.softmax(torch.from_numpy(logits) / temperature, 1).numpy())
        for name, chosen, logits in tests
    ]
    return cooled(model, temperature), judged


def _fit_on_both(
    tests: list[tuple[str, NDArray[np.bool_], NDArray[np.float32]]], labels: NDArray[np.int64]
) -> float:
    """The temperature of as many documents held out at random as from origins left out."""
    rng = np.random.default_rng(0)
    random_part = (labels[tests[0][1]], tests[0][2])
    per_origin = len(random_part[0]) // (len(tests) - 1)
    parts = [random_part]
    for _, chosen, logits in tests[1:]:
        rows = rng.choice(len(logits), per_origin)
        parts.append((labels[chosen][rows], logits[rows]))
    return fit_temperature(np.concatenate([p[1] for p in parts]), np.concatenate([p[0] for p in parts]))


def write_report(judged: list[Judged], folder: Path) -> None:
    """Writes `classifier.json` and `classifier.md` into `folder`."""
    unseen = joined("all origins never trained on", [j for j in judged if "never trained on" in j.name])
    figures = [test.figures() for test in [*judged, unseen]]
    confusions = {"held out at random": judged[0].confusion(), "never trained on": unseen.confusion()}
    document = {
        "labels": list(DEFAULT_TAXONOMY.labels),
        "tests": figures,
        "confusion": {name: counts.tolist() for name, counts in confusions.items()},
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "classifier.json").write_text(json.dumps(document) + "\n", encoding="utf-8")
    sections = [
        "<!-- written by `python -m benchmarks.make_assets.classifier`; do not edit -->",
        "# Accuracy of the embedded classifier\n",
        "An origin is the collection that a document comes from. The labels in these tables are weak: one"
        " label covers a whole origin or one of its sections, so it can be wrong for a single document. A"
        ' row "X (left out)" tests a model that we trained without the origin X. All other rows test the'
        ' shipped classifier. The column "reference" is the accuracy of a baseline: a linear layer over a'
        " hashed bag of words.\n",
        "## Accuracy\n",
        figures_table(figures, reference=REFERENCE),
        *(
            f"\n## Confusion: documents {name}\n\n{confusion_table(counts, DEFAULT_TAXONOMY.labels)}"
            for name, counts in confusions.items()
        ),
    ]
    (folder / "classifier.md").write_text("\n".join(sections) + "\n", encoding="utf-8")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the reference data")
    parser.add_argument("--out", type=Path, default=WEIGHTS_PATH, help="weights to write")
    parser.add_argument("--docs", type=Path, required=True, help="folder for the figures (docs/assets)")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    model, judged = train_and_measure(make_trainer(arguments.data))
    model.save(arguments.out)
    arguments.out.chmod(0o644)
    write_report(judged, arguments.docs)
    for test in judged:
        logger.info("%s", test.figures())


if __name__ == "__main__":
    main()
