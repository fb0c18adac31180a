"""Figures of a classifier on labelled documents, and the page that shows them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Judged:
    """Documents of one test with what the classifier said.

    Attributes:
        name: What the test is called.
        labels: Weak labels, shape (n,).
        probabilities: Shape (n, labels).
    """

    name: str
    labels: NDArray[np.integer]
    probabilities: NDArray[np.float32]

    @property
    def predicted(self) -> NDArray[np.integer]:
        return self.probabilities.argmax(axis=1)

    def figures(self) -> dict[str, float | int | str]:
        """Documents, accuracy, mean confidence and expected calibration error (10 bins)."""
        right = self.predicted == self.labels
        confidence = self.probabilities.max(axis=1)
        bins = np.minimum((confidence * 10).astype(int), 9)
        gaps = [abs(right[bins == b].sum() - confidence[bins == b].sum()) for b in range(10)]
        return {
            "test": self.name,
            "documents": len(self.labels),
            "accuracy": round(float(right.mean()), 4),
            "confidence": round(float(confidence.mean()), 4),
            "calibration_error": round(float(sum(gaps) / len(self.labels)), 4),
        }

    def confusion(self) -> NDArray[np.int64]:
        """Counts, rows the weak label, columns the prediction, shape (labels, labels)."""
        size = self.probabilities.shape[1]
        flat = self.labels.astype(np.int64) * size + self.predicted
        return np.bincount(flat, minlength=size * size).reshape(size, size)


def joined(name: str, parts: list[Judged]) -> Judged:
    """All documents of several tests as one."""
    return Judged(
        name,
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.probabilities for part in parts]),
    )


def figures_table(tests: list[dict], *, reference: dict[str, float]) -> str:
    """A Markdown table of `Judged.figures`, with reference figures where there are any."""
    lines = [
        "| documents of | number | accuracy | reference | mean confidence | calibration error |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for test in tests:
        known = reference.get(test["test"])
        lines.append(
            f"| {test['test']} | {test['documents']} | {test['accuracy']:.3f} |"
            f" {'' if known is None else f'{known:.2f}'} | {test['confidence']:.3f} |"
            f" {test['calibration_error']:.3f} |"
        )
    return "\n".join(lines)


def confusion_table(confusion: NDArray[np.int64], labels: tuple[str, ...]) -> str:
    """A Markdown table of counts; columns carry the number of the label, rows its name too."""
    numbers = [str(i + 1) for i in range(len(labels))]
    lines = [
        f"| weak label \\ predicted | {' | '.join(numbers)} | recall |",
        f"|---|{'---:|' * (len(labels) + 1)}",
    ]
    for number, label, row in zip(numbers, labels, confusion, strict=True):
        total = row.sum()
        recall = f"{row[int(number) - 1] / total:.2f}" if total else ""
        cells = " | ".join(str(count) if count else "" for count in row)
        lines.append(f"| {number} {label} | {cells} | {recall} |")
    return "\n".join(lines)
