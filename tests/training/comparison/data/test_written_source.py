"""What the page says of source text that a model wrote."""

import pytest
from tests.training.comparison.generated_results import results_below

from dmix.training.comparison.data.written_source import written_words
from dmix.training.comparison.pages.page import write_page

FACTS = {
    "models": ["base-0"],
    "generated": 4_000,
    "kept": 1_000,
    "empty": 10,
    "capped": 2_000,
    "tokens": 800_000,
    "tokens_kept": 120_000,
    "max_tokens": 255,
    "quality": "embedded",
    "classifier": "distilled:real-source",
    "agreement": 0.963,
}

make_results = pytest.fixture(results_below)


def test_dropped_documents_are_told_apart():
    words = written_words(FACTS)
    assert "`base-0` wrote the source text of the runs: 4,000 documents with 800,000 tokens" in words
    assert "at most 255 tokens; 2,000 documents were cut" in words
    assert "kept 1,000 documents (25.0%) with 120,000 tokens (15.0%)" in words
    assert "10 documents were empty, 2,990 of low quality by `embedded`" in words
    assert "`distilled:real-source` labelled" in words and "gives 96.3% of held-out documents" in words


def test_without_a_filter_and_a_distilled_classifier_nothing_is_claimed_of_them():
    words = written_words(FACTS | {"quality": "none", "classifier": "embedded", "agreement": None})
    assert "10 documents were empty, there was no judgement of quality" in words
    assert words.endswith("`embedded` labelled the documents with domains.")


@pytest.mark.parametrize("facts", [{}, {"written_source": FACTS}], ids=["people", "model"])
def test_only_pages_of_written_text_have_the_paragraph(make_results, tmp_path, facts):
    results = make_results(facts=facts)
    for seed in range(2):
        results.add("natural", stage="headroom", seed=seed)
    results.write()
    write_page(results.folder.parent, tmp_path / "pages")
    page = (tmp_path / "pages" / "sums.md").read_text(encoding="utf-8")
    assert ("wrote the source text of the runs" in page) == bool(facts)
