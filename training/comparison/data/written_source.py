"""The source text that a model wrote for the runs of a setting: its account, and the words of the page.

The account is kept in `setting.json`, since the warehouse that it is taken from is not among the results.
"""

from collections.abc import Mapping
from typing import Any

from dmix.warehouse_schema.files.layout import Warehouse, read_json
from dmix.warehouse_schema.files.manifests import DatasetManifest, read_corpus_version
from dmix.warehouse_schema.sizes import num_text

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
    judged = "No filter judged the quality."
    if found["quality"] != "none":
        judged = (
            f"{num_text(generated - kept - empty, 'document', 'are')} of low quality according to "
            f"`{found['quality']}`."
        )
    labelled = f"`{found['classifier']}` assigned the domains."
    if found["agreement"] is not None:
        labelled += f" It gives {found['agreement']:.1%} of held-out documents their own label."
    return (
        f"`{'`, `'.join(found['models'])}` wrote the source text of the runs:"
        f" {num_text(generated, 'document')} of at most {num_text(found['max_tokens'], 'token')},"
        f" {num_text(found['tokens'], 'token')} in all. {num_text(found['capped'], 'document', 'were')} cut "
        f"at this length. The runs use {num_text(kept, 'document')} ({kept / generated:.1%}) with"
        f" {num_text(found['tokens_kept'], 'token')} ({found['tokens_kept'] / found['tokens']:.1%})."
        f" {num_text(empty, 'document', 'are')} empty. {judged} {labelled}"
    )
