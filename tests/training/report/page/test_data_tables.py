"""Tables of corpora and domains, from facts written out here."""

import re

from dmix.training.report.page.data_tables import corpora_table, domain_table
from dmix.training.report.queries.data_facts import (
    CorpusFacts,
    Dataset,
    StartState,
    StartWeight,
    StreamFacts,
)


def cells(shown):
    """Text of every cell, row by row."""
    rows = re.findall(r"<tr.*?</tr>", str(shown), flags=re.DOTALL)
    found = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, flags=re.DOTALL) for row in rows]
    return [[re.sub(r"<[^>]*>", "", cell).strip() for cell in row] for row in found]


def stream(field, domain, documents, samples):
    return StreamFacts(
        field=field, domain=domain, documents=documents, samples=samples, tokens=8 * samples, tail_tokens=0
    )


def weight(estimator, domain, share, low=None, high=None):
    return StartWeight(
        estimator=estimator, field="source", domain=domain, document_weight=share, document_low=None,
        document_high=None, sample_weight=share, weight_low=low, weight_high=high,
    )  # fmt: skip


def dataset(*, weights=(), found=None, drops=frozenset()):
    return Dataset(
        dataset="d", name="", taxonomy="two", tokenizer="embedded", seq_len=8, seed=0, corpora=("main@v1",),
        created_at="2026-01-01", start=StartState(weights=tuple(weights), convergence=()), drops=drops,
        streams=(
            stream("source", "Games", 30, 20), stream("source", "Real_Estate", 0, 0),
            stream("target", "Games", 5, 4), stream("target", "Real_Estate", 0, 0),
        ),
        found=found or {},
    )  # fmt: skip


def test_a_corpus_shows_its_rejects_by_reason_and_what_was_not_searched():
    facts = CorpusFacts(
        corpus="main", version=2, field="source", synthetic=False, documents=1200, rejected=3,
        classifier="embedded", created_at="2026-01-01", reasons=(("not_utf8", 2), ("empty", 1)),
        found={"duplicates": 7},
    )  # fmt: skip
    [row] = [row for row in cells(corpora_table([facts])) if row[0] == "main"]
    assert row[3:8] == ["1,200", "3", "not utf8 2, empty 1", "7", "not searched"]


def test_domains_without_text_have_no_row_and_the_total_adds_up():
    rows = {row[0]: row for row in cells(domain_table(dataset()))}
    assert "Games" in rows and "Real Estate" not in rows
    assert rows["all domains"][1:4] == ["30", "160", "20"]


def test_a_share_of_a_model_has_its_interval():
    shown = domain_table(
        dataset(weights=[weight("corpus", "Games", 0.5), weight("base", "Games", 0.4, low=0.25, high=0.5)])
    )
    [row] = [row for row in cells(shown) if row[0] == "Games"]
    assert row[4:7] == ["50.00%", "50.00%", "40.00% (25.00% to 50.00%)"]


def test_the_caption_says_whether_copies_were_left_out():
    found = {"duplicates": {("target", "Real_Estate"): 2}}
    kept = domain_table(dataset(found=found))
    assert "copies: kept" in kept and "Real Estate" in kept
    assert "copies: left out" in domain_table(dataset(found=found, drops=frozenset({"duplicates"})))
