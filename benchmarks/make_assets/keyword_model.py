"""What the keyword lists alone say: weights in closed form, and texts with keywords strewn in.

The weights start the training of the embedded classifier; the texts keep it from forgetting
them. Both are general: any mapping from label to words will do.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from dmix.etl.classifiers.features import NUM_FEATURES, WordTable, document_features
from dmix.etl.classifiers.keywords import DomainWords
from dmix.etl.text.inflection import past, plural
from dmix.etl.text.tokens import Tokenizer

SMOOTHING = 1e-4
"""Share of a label's keyword mass that every feature is taken to have; chosen on held-out origins."""


def keyword_forms(words: DomainWords) -> list[str]:
    """Every keyword with its plural or past tense, once each."""
    forms = [*words.all(), *map(plural, words.people + words.things), *map(past, words.actions)]
    return list(dict.fromkeys(forms))


def keyword_weights(
    forms: Mapping[str, Sequence[str]], *, tokenizer: Tokenizer, table: WordTable
) -> NDArray[np.float32]:
    """Centred log odds of every feature under each label's keywords, shape (NUM_FEATURES, labels).

    P(f | label) gives each keyword the same share and divides it among the features of a phrase;
    the weight is log((P + s) / s) with s = `SMOOTHING`, less its mean over the labels.
    """
    shares = np.zeros((NUM_FEATURES, len(forms)), np.float32)
    for column, words in enumerate(forms.values()):
        ids, lengths = tokenizer.encode([f" {word}" for word in words])
        features, offsets = document_features(ids, lengths, table=table)
        counts = np.diff(offsets, append=len(features))
        np.add.at(shares[:, column], features, np.repeat(1.0 / counts, counts) / len(words))
    weights = np.log1p(shares / SMOOTHING)
    return weights - weights.mean(axis=1, keepdims=True)


def keyword_texts(
    forms: Mapping[str, Sequence[str]],
    background: Sequence[NDArray[np.unsignedinteger]],
    *,
    per_label: int,
    tokenizer: Tokenizer,
    rng: np.random.Generator,
) -> tuple[list[NDArray[np.uint32]], NDArray[np.int64]]:
    """Token ids of real text with keywords of one label strewn in, and that label.

    A text is a row of chunks of 1 to 7 tokens: with a probability drawn from [0.08, 0.5] for the
    whole text a keyword, else a piece of a background document, which changes now and then. So
    style and topic of the background say nothing about the label.

    Args:
        forms: Keywords by label.
        background: Token ids of real documents of any label, none of them empty.
        per_label: Number of texts for each label.
        tokenizer: Encodes the keywords.
        rng: All randomness.

    Returns:
        Texts as token ids, 20 to some 260 each, and label numbers, labels taking turns.
    """
    encoded = [_encoded_words(words, tokenizer) for words in forms.values()]
    labels = np.tile(np.arange(len(forms)), per_label)
    texts = []
    for label in labels:
        share, wanted = np.exp(rng.uniform(np.log([0.08, 20]), np.log([0.5, 250])))
        texts.append(_strewn(encoded[label], background, share=share, num_tokens=int(wanted), rng=rng))
    return texts, labels


def _strewn(
    keywords: Sequence[NDArray[np.uint32]],
    background: Sequence[NDArray[np.unsignedinteger]],
    *,
    share: float,
    num_tokens: int,
    rng: np.random.Generator,
) -> NDArray[np.uint32]:
    chunks = [keywords[rng.integers(len(keywords))]]
    size = len(chunks[0])
    document = background[rng.integers(len(background))]
    while size < num_tokens:
        if rng.random() < share:
            chunk = keywords[rng.integers(len(keywords))]
        else:
            if rng.random() < 0.1:
                document = background[rng.integers(len(background))]
            width = int(rng.integers(1, 8))
            start = int(rng.integers(max(1, len(document) - width)))
            chunk = document[start : start + width].astype(np.uint32)
        chunks.append(chunk)
        size += len(chunk)
    return np.concatenate(chunks)


def _encoded_words(words: Sequence[str], tokenizer: Tokenizer) -> list[NDArray[np.uint32]]:
    ids, lengths = tokenizer.encode([f" {word}" for word in words])
    return np.split(ids, np.cumsum(lengths)[:-1])
