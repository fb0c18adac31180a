"""Words of each domain."""

from dmix.etl.classifiers.keywords import DomainWords, domain_words
from dmix.warehouse_schema.taxonomy import NVIDIA_26


def test_every_domain_has_its_keywords():
    words = domain_words()
    assert tuple(words) == NVIDIA_26
    for domain, lists in words.items():
        assert len(lists.all()) >= 60, domain
        assert all(word == word.strip() and word for word in lists.all()), domain


def test_a_word_of_two_parts_counts_once_where_it_comes_first():
    words = DomainWords(
        people=("cook",), things=("pan", "pot"), actions=("cook",), qualities=("hot",), topics=("pot",)
    )
    assert words.all() == ("cook", "pan", "pot", "hot")
