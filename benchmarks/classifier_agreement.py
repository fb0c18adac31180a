"""How often the embedded classifier agrees with the weak label of a document, by origin.

    OMP_NUM_THREADS=1 python -m benchmarks.classifier_agreement --data DIR [--docs DIR]

Origins that the shipped weights were never trained on come first: they say what to expect of other text.
Writes `classifier-agreement.md` into the folder of the docs' assets.
"""

import argparse
from collections import Counter
from itertools import islice
from pathlib import Path

from benchmarks.make_assets.reference_corpora import COPYLEFT, RESEARCH_ONLY, read_reference
from benchmarks.provenance import ROOT

from dmix.etl.classifiers.embedded import EmbeddedClassifier

BATCH = 1_000
UNSEEN = RESEARCH_ONLY | COPYLEFT


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the reference data")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs" / "assets", help="folder of the table")
    arguments = parser.parse_args()
    agreed, documents = count(arguments.data)
    (arguments.docs / "classifier-agreement.md").write_text(table(agreed, documents))


def count(data: Path) -> tuple[Counter[str], Counter[str]]:
    """Documents that agree, and labelled documents, by origin."""
    classifier = EmbeddedClassifier()
    labels = classifier.taxonomy.labels
    agreed: Counter[str] = Counter()
    documents: Counter[str] = Counter()
    labelled = (document for document in read_reference(data) if document.domain is not None)
    while batch := list(islice(labelled, BATCH)):
        found = classifier.classify([document.text for document in batch], {})
        for document, index in zip(batch, found.index.tolist(), strict=True):
            documents[document.origin] += 1
            agreed[document.origin] += labels[index] == document.domain
    return agreed, documents


def table(agreed: Counter[str], documents: Counter[str]) -> str:
    """The table in Markdown: unseen origins by agreement, then those of the training."""
    lines = [
        "<!-- written by `python -m benchmarks.classifier_agreement`; do not edit -->\n",
        "# Agreement of the embedded classifier with weak labels\n\n",
        "An origin is the collection that a document comes from. The labels are weak: one label covers a"
        " whole origin or one of its sections. The column *agreement* is the share of an origin's documents"
        " for which the classifier's label is equal to the weak label."
        ' "Never" in the column *trained on* means that training did not use the origin.\n\n',
        "| origin | trained on | documents | agreement |\n|---|---|---:|---:|\n",
    ]
    for seen in (False, True):
        origins = [origin for origin in documents if (origin not in UNSEEN) == seen]
        for origin in sorted(origins, key=lambda name: (agreed[name] / documents[name], name)):
            share = agreed[origin] / documents[origin]
            lines.append(
                f"| {origin} | {'yes' if seen else 'never'} | {documents[origin]:,} | {share:.2f} |\n"
            )
        mean = sum(agreed[name] / documents[name] for name in origins) / max(1, len(origins))
        total = sum(documents[name] for name in origins)
        lines.append(
            f"| **mean of {len(origins)}** | {'yes' if seen else 'never'} | {total:,} | {mean:.2f} |\n"
        )
    return "".join(lines)


if __name__ == "__main__":
    main()
