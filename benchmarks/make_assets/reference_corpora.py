"""The reference corpora that the shipped tokenizer and classifier are trained on, and who may use them.

Each corpus is `<data>/corpora/<field>/<origin>.jsonl.gz`, one record a document with `text`,
`origin` and `label`; `<data>/domain26.json` maps (origin, label) of the source field to a domain.
That map is a weak label: written by hand, per origin and label, never per document.
"""

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dmix.warehouse_schema.errors import NotFoundError

RESEARCH_ONLY = frozenset({"newsgroups20", "bbc_news", "reuters21578", "ag_news_test", "brown", "asdiv"})
"""Research or non-commercial use alone: they evaluate, and no shipped weight has seen them."""

COPYLEFT = frozenset(
    {"ethereum_book", "ewt_web", "sgd_dialogues", "openintro_statistics", "stacks_project", "fcla"}
)
"""CC BY-SA or GFDL: kept out of shipped weights, so that share-alike raises no question."""

TARGET_DOMAINS = {"target_math": "Science", "target_code": "Computers_and_Electronics"}
"""Domain of the documents of the target fields, for which `domain26.json` has no entry."""

WORD_PROBLEMS = frozenset({"gsm8k_train", "mawps", "asdiv", "mathqa", "aqua_dev"})
"""Without a label: a word problem about shopping is to fall to Shopping, not to Science."""


@dataclass(frozen=True)
class LabelledDocument:
    """One document of a reference corpus.

    Attributes:
        text: Its text.
        origin: The corpus it comes from.
        group: Parts of one original document share it, so that a split never separates them.
        domain: Weak label, or None where no domain fits.
    """

    text: str
    origin: str
    group: str
    domain: str | None


def read_reference(data: Path, *, exclude: frozenset[str] = frozenset()) -> Iterator[LabelledDocument]:
    """The documents below `data`, in the order of the file names and lines.

    Args:
        data: Folder with `corpora/` and `domain26.json`.
        exclude: Origins to leave out.

    Raises:
        NotFoundError: If `data` does not hold the reference corpora.
    """
    files = sorted((data / "corpora").glob("*/*.jsonl.gz"))
    if not files or not (data / "domain26.json").is_file():
        raise NotFoundError(f"{data} has no corpora/*/*.jsonl.gz and domain26.json; give the reference data")
    domains = json.loads((data / "domain26.json").read_text(encoding="utf-8"))
    for file in files:
        origin = file.name.removesuffix(".jsonl.gz")
        if origin in exclude:
            continue
        fixed = TARGET_DOMAINS.get(file.parent.name)
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            for line in lines:
                record = json.loads(line)
                domain = fixed or domains.get(origin, {}).get(record["label"])
                domain = None if origin in WORD_PROBLEMS else domain
                group = record["id"].rpartition("-")[0]
                yield LabelledDocument(record["text"], origin, group, domain)
