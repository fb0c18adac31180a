"""The source text that a model wrote for the runs of a setting: its account, and the words of the page.

The account is kept in `setting.json`, since the warehouse that it is taken from is not among the results.
"""

from collections.abc import Mapping
from typing import Any

from dmix.warehouse_schema.files.layout import Warehouse, read_json
from dmix.warehouse_schema.files.manifests import DatasetManifest, read_corpus_version

_DISTILLED = "distilled:"


def written_source(warehouse: Warehouse, manifest: DatasetManifest) -> dict[str, Any] | None:
    """What is known of the source text that a model wrote; None where people wrote it.

    Counts are those of `dmix etl synthesize`: documents `generated`, `kept`, `empty` and `capped` (ended by
    the length cap `max_tokens`), `tokens` and `tokens_kept`. Beside them stand the `models` that wrote, the
    `quality` filter, the `classifier` of domains, and its `agreement` with the labels of held-out documents,
    0 to 1, None if it was not distilled.
    """
    corpus = next((c for c in manifest.corpora if c.synthetic and c.field == "source"), None)
    if corpus is None:
        return None
    version = read_corpus_version(warehouse, corpus.corpus, corpus.version)
    agreement = None
    if version.classifier.startswith(_DISTILLED):
        name = version.classifier.removeprefix(_DISTILLED)
        agreement = read_json(warehouse.classifiers / name / "report.json")["agreement"]
    assert version.generation is not None  # it is what makes a corpus synthetic
    return {**version.generation, "classifier": version.classifier, "agreement": agreement}


def written_words(found: Mapping[str, Any]) -> str:
    """The account as a paragraph.

    Args:
        found: From `written_source`.
    """
    generated, kept, empty = found["generated"], found["kept"], found["empty"]
    judged = "there was no judgement of quality"
    if found["quality"] != "none":
        judged = f"{generated - kept - empty:,} of low quality by `{found['quality']}`"
    labelled = f"`{found['classifier']}` labelled the documents with domains"
    if found["agreement"] is not None:
        labelled += f", and gives {found['agreement']:.1%} of held-out documents the right label"
    return (
        f"`{'`, `'.join(found['models'])}` wrote the source text of the runs: {generated:,} documents "
        f"with {found['tokens']:,} tokens. A document has at most {found['max_tokens']:,} tokens; "
        f"{found['capped']:,} documents were cut there. dmix kept {kept:,} documents "
        f"({kept / generated:.1%}) with {found['tokens_kept']:,} tokens "
        f"({found['tokens_kept'] / found['tokens']:.1%}). {empty:,} documents were empty, {judged}. "
        f"{labelled}."
    )
