"""Trains the embedded quality judge: `python -m benchmarks.make_assets.quality --data DIR`.

Writes the weights (`etl/assets/quality_linear.safetensors`) and, with `--docs`, what it does to
text that it has not seen. Same data: same bytes. Takes some minutes on one core.

Good text: windows of the permissively licensed reference corpora. Low text is made of it: words
shuffled or drawn at random, chains that know one word or two words of context (what a weak model
writes), loops, changed characters, letters shuffled within words. Six tenths of the documents
fill the tables of neighbours, a quarter fits the weights, the rest is held out; documents of the
research-only corpora are judged, too, and train nothing.
"""

import argparse
import itertools
import json
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from benchmarks.make_assets.reference_corpora import COPYLEFT, RESEARCH_ONLY, LabelledDocument, read_reference
from numpy.typing import NDArray

from dmix.etl.quality.embedded import WEIGHTS_PATH, QualityModel, model_inputs
from dmix.etl.quality.measures import NeighbourTables, text_measures

logger = logging.getLogger(__name__)

TABLES_AN_ORIGIN = 300
FIT_AN_ORIGIN = 160
TEST_AN_ORIGIN = 60
WINDOW_WORDS = (25, 500)
CHAIN_DOCUMENTS = 6_000
PENALTY = 1e-3
"""Of the squared weights."""

GOOD_DROPPED = 0.03
"""Share of the good texts that the judge may call Low: the bias is moved until it is this one.
A filter that keeps some poor text costs less than one that drops whole kinds of good text."""


@dataclass(frozen=True, eq=False)
class Chains:
    """What followed each word, and each pair of words, in some texts."""

    words: list[str]
    after_one: dict[str, list[str]]
    after_two: dict[tuple[str, str], list[str]]

    @classmethod
    def of(cls, texts: Iterable[str]) -> "Chains":
        """The chains of texts."""
        words: list[str] = []
        after_one, after_two = defaultdict(list), defaultdict(list)
        for text in texts:
            found = text.split()
            words += found
            for first, second in itertools.pairwise(found):
                after_one[first].append(second)
            for first, second, third in zip(found, found[1:], found[2:], strict=False):
                after_two[first, second].append(third)
        return cls(words, dict(after_one), dict(after_two))


Corruption = Callable[[list[str], Chains, np.random.Generator], str]


def shuffled_words(words: list[str], chains: Chains, rng: np.random.Generator) -> str:
    """The words in a random order."""
    return " ".join(words[i] for i in rng.permutation(len(words)))


def word_salad(words: list[str], chains: Chains, rng: np.random.Generator) -> str:
    """As many words drawn by their frequency."""
    return " ".join(chains.words[i] for i in rng.integers(len(chains.words), size=len(words)))


def chain_of_one(words: list[str], chains: Chains, rng: np.random.Generator) -> str:
    """A chain in which each word is drawn given the one before."""
    written = [chains.words[rng.integers(len(chains.words))]]
    while len(written) < len(words):
        following = chains.after_one.get(written[-1]) or chains.words
        written.append(following[rng.integers(len(following))])
    return " ".join(written)


def chain_of_two(words: list[str], chains: Chains, rng: np.random.Generator) -> str:
    """A chain in which each word is drawn given the two before, now and then given one alone.

    With two alone it would copy whole sentences, since most pairs were followed by one word only.
    """
    written = chain_of_one(words[:2], chains, rng).split()
    while len(written) < len(words):
        following = chains.after_two.get((written[-2], written[-1])) if rng.random() < 0.7 else None
        following = following or chains.after_one.get(written[-1]) or chains.words
        written.append(following[rng.integers(len(following))])
    return " ".join(written)


def loop(words: list[str], chains: Chains, rng: np.random.Generator) -> str:
    """The beginning, and then a phrase over and over."""
    start, length = rng.integers(max(1, len(words) // 2)), rng.integers(3, 20)
    phrase = words[start : start + length]
    return " ".join((words[: start + length] + phrase * (len(words) // len(phrase) + 1))[: len(words)])


def changed_characters(words: list[str], chains: Chains, rng: np.random.Generator) -> str:
    """A tenth to a half of the characters replaced by others of the text."""
    characters = np.array(list(" ".join(words)))
    changed = rng.random(len(characters)) < rng.uniform(0.1, 0.5)
    characters[changed] = rng.choice(characters, changed.sum())
    return "".join(characters)


def shuffled_letters(words: list[str], chains: Chains, rng: np.random.Generator) -> str:
    """The letters of every word in a random order."""
    return " ".join("".join(rng.permutation(list(word))) for word in words)


CORRUPTIONS: dict[str, Corruption] = {
    "shuffled words": shuffled_words,
    "word salad": word_salad,
    "chain of one": chain_of_one,
    "chain of two": chain_of_two,
    "loop": loop,
    "changed characters": changed_characters,
    "shuffled letters": shuffled_letters,
}
"""Ways to spoil a text: (words of a window, chains of other texts, randomness) to text."""


def train_quality(documents: Iterable[LabelledDocument]) -> tuple[QualityModel, list[dict]]:
    """The judge, and the share of each kind of held-out text that it would drop.

    Args:
        documents: All reference documents; research-only ones are judged alone, copyleft ones unused.
    """
    rng = np.random.default_rng(0)
    parts = _parts(documents)
    tables = NeighbourTables.of(text for texts in parts["tables"].values() for text in texts)
    pool = [text for texts in parts["fit"].values() for text in texts]
    chains = Chains.of(pool[i] for i in rng.permutation(len(pool))[:CHAIN_DOCUMENTS])
    good = [w for texts in parts["fit"].values() for w in _windows(texts, FIT_AN_ORIGIN, rng)]
    kinds = list(CORRUPTIONS.values())
    low = [kinds[i % len(kinds)](window.split(), chains, rng) for i, window in enumerate(good)]
    logger.info("%d good and %d low texts to fit", len(good), len(low))
    measures = np.array([text_measures(text, tables) for text in [*good, *low]])
    mean, std = measures.mean(axis=0), np.maximum(measures.std(axis=0), 1e-9)
    inputs = model_inputs(measures, mean=mean, std=std)
    weight = fit_logistic(inputs, np.arange(len(inputs)) >= len(good))
    bias = -float(np.quantile(inputs[: len(good)] @ weight, 1 - GOOD_DROPPED))
    model = QualityModel(tables, mean, std, weight, bias)
    held_out = Chains.of(text for texts in parts["test"].values() for text in texts)
    return model, _tested(model, parts["test"], parts["unseen"], held_out, rng)


def fit_logistic(inputs: NDArray[np.float64], low: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Weights of a ridge logistic regression, shape (inputs,); its bias is left out.

    Args:
        inputs: Shape (texts, inputs), of unit scale.
        low: Which texts are Low, shape (texts,).
    """
    values, target = torch.from_numpy(inputs), torch.from_numpy(low.astype(np.float64))
    weight = torch.zeros(inputs.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=500, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        scores = values @ weight + bias
        value = torch.nn.functional.binary_cross_entropy_with_logits(scores, target)
        value = value + PENALTY / 2 * (weight**2).sum()
        value.backward()
        return value

    optimizer.step(loss)
    return np.asarray(weight.detach().numpy())


def _parts(documents: Iterable[LabelledDocument]) -> dict[str, dict[str, list[str]]]:
    """Texts by use and origin, a limited number of each, by hash of what they are part of."""
    limits = {
        "tables": TABLES_AN_ORIGIN,
        "fit": 2 * FIT_AN_ORIGIN,
        "test": TEST_AN_ORIGIN,
        "unseen": TEST_AN_ORIGIN,
    }
    parts: dict[str, dict[str, list[str]]] = {name: defaultdict(list) for name in limits}
    for document in documents:
        if document.origin in COPYLEFT:
            continue
        place = sha256(f"{document.origin}/{document.group}".encode()).digest()[0] / 256
        use = "tables" if place < 0.6 else "fit" if place < 0.85 else "test"
        use = "unseen" if document.origin in RESEARCH_ONLY else use
        if len(parts[use][document.origin]) < limits[use]:
            parts[use][document.origin].append(document.text)
    return parts


def _windows(texts: list[str], number: int, rng: np.random.Generator) -> list[str]:
    """Runs of words of some texts, of lengths drawn log-uniformly, white space kept."""
    windows = []
    for i in rng.permutation(len(texts))[:number]:
        places = np.flatnonzero([character.isspace() for character in texts[i]])
        width = int(np.exp(rng.uniform(*np.log(WINDOW_WORDS))))
        start = int(rng.integers(max(1, len(places) - width)))
        begin = int(places[start]) if len(places) > width else 0
        end = int(places[start + width]) if len(places) > start + width else len(texts[i])
        windows.append(texts[i][begin:end])
    return [window for window in windows if len(window.split()) >= WINDOW_WORDS[0] // 2]


def _tested(
    model: QualityModel,
    test: dict[str, list[str]],
    unseen: dict[str, list[str]],
    chains: Chains,
    rng: np.random.Generator,
) -> list[dict]:
    def dropped(name: str, texts: list[str]) -> dict:
        low = [model.probability_low(text) for text in texts]
        return {"text": name, "texts": len(low), "dropped": float(np.mean(np.array(low) >= 0.5))}

    good = [window for texts in test.values() for window in _windows(texts, TEST_AN_ORIGIN, rng)]
    rows = [dropped("held-out documents", good)]
    for origin in sorted(unseen):
        rows.append(dropped(f"{origin} (never trained on)", _windows(unseen[origin], TEST_AN_ORIGIN, rng)))
    for name, corrupt in CORRUPTIONS.items():
        rows.append(dropped(name, [corrupt(window.split(), chains, rng) for window in good[::4]]))
    return rows


def report(rows: list[dict]) -> str:
    """What is dropped, as a Markdown table."""
    lines = ["<!-- written by `python -m benchmarks.make_assets.quality`; do not edit -->"]
    lines += [
        "# Texts that the embedded quality classifier drops",
        "",
        "The first row shows held-out documents from the corpora that the classifier trained on."
        f" The next rows show unseen corpora. In the last {len(CORRUPTIONS)} rows, a program made poor"
        " text from good text, for example by shuffling its words.",
        "",
    ]
    lines += ["| text | texts | dropped |", "|---|---|---|"]
    lines += [f"| {row['text']} | {row['texts']:,} | {row['dropped']:.1%} |" for row in rows]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the reference data")
    parser.add_argument("--out", type=Path, default=WEIGHTS_PATH, help="weights to write")
    parser.add_argument("--docs", type=Path, help="folder for quality.md (docs/assets)")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    model, rows = train_quality(read_reference(arguments.data))
    model.save(arguments.out)
    arguments.out.chmod(0o644)
    if arguments.docs:
        (arguments.docs / "quality.md").write_text(report(rows), encoding="utf-8")
    logger.info("%s", json.dumps(rows))


if __name__ == "__main__":
    main()
