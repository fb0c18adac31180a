"""Words and phrases of each domain, by part of speech, and texts made of nothing else.

The lists are in `etl/assets/domain_keywords.yaml`. They teach the embedded classifier the domains
for which there are no documents, and give the demonstration corpus its vocabulary.
"""

from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path

import yaml

KEYWORDS_PATH = Path(__file__).parent.parent / "assets" / "domain_keywords.yaml"


@dataclass(frozen=True)
class DomainWords:
    """The vocabulary of one domain.

    Attributes:
        people: Countable nouns for persons, singular.
        things: Countable nouns for things, singular.
        actions: Verbs, base form.
        qualities: Adjectives.
        topics: Anything else: mass nouns, names, phrases.
    """

    people: tuple[str, ...]
    things: tuple[str, ...]
    actions: tuple[str, ...]
    qualities: tuple[str, ...]
    topics: tuple[str, ...]

    def all(self) -> tuple[str, ...]:
        """Every word and phrase once, in the order of the file."""
        return tuple(dict.fromkeys(word for part in fields(self) for word in getattr(self, part.name)))


@lru_cache(maxsize=1)
def domain_words() -> dict[str, DomainWords]:
    """The vocabulary of every domain of the default taxonomy, in its order."""
    document = yaml.safe_load(KEYWORDS_PATH.read_text(encoding="utf-8"))
    return {
        domain: DomainWords(**{part: tuple(str(words).split(", ")) for part, words in parts.items()})
        for domain, parts in document.items()
    }
