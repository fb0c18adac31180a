"""A small corpus that dmix makes itself, for `dmix quickstart` without data (licence: Apache-2.0).

Source documents are short essays over 24 domains (the default taxonomy less two that nobody
wants on screen), from a grammar over the keyword lists. What can be learned: the sentence forms,
which words go together, and fixed facts, such as the one quality each thing has everywhere.
Target documents are word problems with worked answers, set in twelve of the domains, so that the
target field has domains of its own. Everything follows from the seed: same seed, same bytes.
"""

import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import numpy as np
import yaml

from dmix.etl.classifiers.keywords import DomainWords, domain_words
from dmix.etl.demo.problems import PROBLEM_DOMAINS, word_problem
from dmix.etl.text.inflection import past, plural, with_article
from dmix.warehouse_schema.files.layout import publish_bytes

DEFAULT_DOCUMENTS = 4500
"""Documents of each field; about 3 MB of source and 1 MB of target text."""

EVALUATION_ITEMS = 60
LICENCE = "Apache-2.0"
LEFT_OUT = frozenset({"Adult", "Sensitive_Subjects"})

SENTENCES = (
    "The {person} {did} the {thing}, and the {thing} was {quality}.",
    "Every {person} knows that {a_thing} of this kind is {quality}.",
    "{Topic} and {topic2} are what {persons} talk about most.",
    "Without {topic} there would be no {thing}, and without the {thing} no {thing2}.",
    "One {quality} {thing} is worth more to the {person} than two {things2}.",
    '"Is the {thing} {quality}?" asked the {person}. "Yes, the {thing} is {quality}," said the {person2}.',
    "In the morning the {person} {did} the {thing}; in the evening the {person2} {did2} the {thing2}.",
    "Most {persons} begin with {topic}, go on to {topic2}, and end with the {thing}.",
    "The {person2} had {a_thing2}, which is {quality2}, and {a_thing}, which is {quality}.",
    "When {persons} learn about {topic}, they first ask for the {thing}.",
    "Nobody {did} as many {things} as the {person} did that year.",
    "The {thing} belongs to {topic}, as the {thing2} belongs to {topic2}.",
    "Why is the {thing2} {quality2}? Because the {person2} {did2} it well.",
    "The {persons} and the {persons2} of the town agreed about the {thing} and about {topic}.",
)
"""Forms of a sentence; the words of one document come from a few choices, so that they recur."""


def write_demo_corpus(folder: Path, *, seed: int = 0, documents: int = DEFAULT_DOCUMENTS) -> None:
    """Writes the demonstration corpus, its evaluation items and `environment.yaml`.

    Args:
        folder: Gets `source/demo.jsonl`, `target/demo.jsonl`, `evaluation/general.jsonl`,
            `evaluation/target.jsonl` and `environment.yaml`; made if it does not exist.
        seed: All randomness.
        documents: Number of source documents and of target documents.
    """
    general = list(_numbered("general", source_texts(seed=seed, stream=1), EVALUATION_ITEMS))
    target_items = list(_items(seed))
    asked = {item["question"] for item in target_items}
    held_out = {item["text"] for item in general}
    source = _numbered("source", source_texts(seed=seed, stream=2, avoid=held_out), documents)
    target = _numbered("target", target_texts(seed=seed, stream=3, avoid=asked), documents)
    _write_lines(folder / "source" / "demo.jsonl", source)
    _write_lines(folder / "target" / "demo.jsonl", target)
    _write_lines(folder / "evaluation" / "general.jsonl", general)
    _write_lines(folder / "evaluation" / "target.jsonl", target_items)
    # last, and at once: it tells whoever looks that the corpus is whole
    document = yaml.safe_dump(_environment(), sort_keys=False)
    publish_bytes(folder / "environment.yaml", document.encode("utf-8"))


def write_judging_items(folder: Path, *, seed: int = 0) -> None:
    """Writes other items of the same kinds, `judging/*.jsonl`, and `judging.yaml`, for no controller to see.

    Args:
        folder: Folder of the demonstration corpus.
        seed: Seed of that corpus; the items come from streams of their own.
    """
    general = _numbered("general", source_texts(seed=seed, stream=5), EVALUATION_ITEMS)
    _write_lines(folder / "judging" / "general.jsonl", general)
    _write_lines(folder / "judging" / "target.jsonl", _items(seed, stream=6))
    document = yaml.safe_dump(_environment("judging"), sort_keys=False)
    publish_bytes(folder / "judging.yaml", document.encode("utf-8"))


def source_texts(
    *, seed: int, stream: int, avoid: set[str] | frozenset[str] = frozenset()
) -> Iterator[tuple[str, str]]:
    """Endless (domain, essay) pairs; domains come with unequal, fixed frequencies.

    Args:
        seed: Seed of the corpus.
        stream: Number of an independent part of it.
        avoid: Texts that are not to come.
    """
    rng = np.random.default_rng([seed, stream])
    words = {domain: w for domain, w in domain_words().items() if domain not in LEFT_OUT}
    domains = list(words)
    frequency = 1.0 / (3.0 + np.arange(len(domains)))
    frequency /= frequency.sum()
    while True:
        domain = domains[int(rng.choice(len(domains), p=frequency))]
        text = _essay(words[domain], rng)
        if text not in avoid:
            yield domain, text


def target_texts(
    *, seed: int, stream: int, avoid: set[str] | frozenset[str] = frozenset()
) -> Iterator[tuple[str, str]]:
    """Endless (domain, problem with worked answer) pairs, less the questions in `avoid`."""
    rng = np.random.default_rng([seed, stream])
    words = domain_words()
    while True:
        domain = PROBLEM_DOMAINS[int(rng.integers(len(PROBLEM_DOMAINS)))]
        question, answer = word_problem(words[domain], rng)
        if question not in avoid:
            yield domain, f"{question}\n{answer}"


def _essay(words: DomainWords, rng: np.random.Generator) -> str:
    """Four to eight sentences about a few people, things and topics of one domain."""
    person, person2 = _pick(words.people, 2, rng)
    thing, thing2 = _pick(words.things, 2, rng)
    topics = _pick(words.topics, 4, rng)
    actions = _pick(words.actions, 2, rng)
    sentences = []
    for index in rng.permutation(len(SENTENCES))[: int(rng.integers(4, 9))]:
        topic, topic2 = (topics[i] for i in rng.permutation(len(topics))[:2])
        sentences.append(
            SENTENCES[index].format(
                person=person,
                persons=plural(person),
                person2=person2,
                persons2=plural(person2),
                thing=thing,
                things=plural(thing),
                a_thing=with_article(thing),
                thing2=thing2,
                things2=plural(thing2),
                a_thing2=with_article(thing2),
                quality=fixed_quality(thing, words),
                quality2=fixed_quality(thing2, words),
                topic=topic,
                Topic=topic[0].upper() + topic[1:],
                topic2=topic2,
                did=past(actions[0]),
                did2=past(actions[1]),
            )
        )
    return " ".join(sentences)


def fixed_quality(thing: str, words: DomainWords) -> str:
    """The one quality that a thing has in every document, whatever the seed."""
    return words.qualities[sha256(thing.encode()).digest()[0] % len(words.qualities)]


def _pick(choices: tuple[str, ...], number: int, rng: np.random.Generator) -> list[str]:
    return [choices[i] for i in rng.choice(len(choices), number, replace=False)]


def _items(seed: int, *, stream: int = 4) -> Iterator[dict[str, str]]:
    rng = np.random.default_rng([seed, stream])
    words = domain_words()
    seen: set[str] = set()
    while len(seen) < EVALUATION_ITEMS:
        question, answer = word_problem(words[PROBLEM_DOMAINS[len(seen) % len(PROBLEM_DOMAINS)]], rng)
        if question not in seen:
            yield {"id": f"target-{len(seen):05d}", "question": question, "answer": answer}
            seen.add(question)


def _numbered(prefix: str, texts: Iterator[tuple[str, str]], number: int) -> Iterator[dict[str, str]]:
    for index, (domain, text) in zip(range(number), texts, strict=False):
        yield {"id": f"{prefix}-{index:05d}", "domain": domain, "text": text}


def _environment(folder: str = "evaluation") -> dict:
    shared = {"seed": 0, "weight": 1.0, "licence": LICENCE, "split": "all"}
    return {
        "objectives": [
            {"name": "general", "role": "general", "kind": "continuation", "path": f"{folder}/general.jsonl"}
            | shared,
            {"name": "word_problems", "role": "target", "kind": "qa", "path": f"{folder}/target.jsonl"}
            | shared,
        ]
    }


def _write_lines(path: Path, records: Iterator[dict[str, str]] | list[dict[str, str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
