"""What the study publishes: a Parquet file of all distances, a table, a figure, samples of text."""

import os
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from benchmarks.provenance import commit_of, machine_name
from benchmarks.synthetic.runs import NUMBERS, texts_of
from benchmarks.synthetic.text import StudyText

from dmix.etl.synthetic.start_state.shares import shares
from dmix.warehouse_schema.files.layout import publish_bytes, publish_json
from dmix.warehouse_schema.taxonomy import DEFAULT_TAXONOMY

mpl.use("svg")
mpl.rcParams["svg.hashsalt"] = "dmix"

CLAIM = 0.1
SAMPLES = 3

Key = tuple[str, int]


def publish(
    rows: Sequence[dict], models: Sequence[dict], *, text: StudyText, work: Path, out: Path, docs: Path
) -> None:
    """Writes what is there so far.

    Args:
        rows: A distance each: model, run, documents, kl and others.
        models: Facts of the models that are trained.
        text: The training text.
        work: Where the units lie.
        out: Folder of the results.
        docs: Folder of what the docs show.
    """
    out.mkdir(parents=True, exist_ok=True)
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(list(rows)), sink)
    publish_bytes(out / "distances.parquet", sink.getvalue().to_pybytes())
    done = {
        model["size"]: len({row["run"] for row in rows if row["model"] == model["size"]}) for model in models
    }
    publish_json(
        out / "study.json",
        {
            "models": list(models),
            "runs": done,
            "training_documents": len(text.tokens),
            "truth": {
                label: round(float(share), 5)
                for label, share in zip(DEFAULT_TAXONOMY.labels, shares(text.counts), strict=True)
            },
            "samples": {name: _samples(work, name) for name, runs in done.items() if runs},
            "machine": machine_name(),
            "commit": commit_of(),
            "date": datetime.now(UTC).date().isoformat(),
            "cores_used": 1,
            "load_average": os.getloadavg()[2],
        },
    )
    grouped = _grouped(rows)
    docs.mkdir(parents=True, exist_ok=True)
    (docs / "start-state-study.md").write_text(table(grouped, models), encoding="utf-8")
    figure(grouped, docs / "start-state-study.svg")


def table(grouped: dict[Key, list[dict]], models: Sequence[dict]) -> str:
    """The study as Markdown: distance to the truth by model and number of documents."""
    facts = {model["size"]: model for model in models}
    names = list(dict.fromkeys(model for model, _ in grouped))
    lines = [
        "<!-- written by `python -m benchmarks.synthetic`; do not edit -->",
        "# Distance of written text from the training text",
        "",
        "A model writes documents. The shares of the domains in them are an estimate of the shares in the"
        " model's training text, the truth. The table shows KL(estimate || truth) in nats, as mean and range"
        f" over the runs. The columns {NUMBERS[0]:,} to {NUMBERS[-1]:,} are numbers of documents. In the"
        " first row, the documents come from the training text itself.",
        "",
        f"| model | tokens seen | last loss | runs | {' | '.join(f'{n:,}' for n in NUMBERS)} |"
        f" total variation at {max(NUMBERS):,} |",
        "|---|---|---|---|" + "---|" * (len(NUMBERS) + 1),
    ]
    for name in names:
        cells = [_spread([row["kl"] for row in grouped[name, n]]) for n in NUMBERS]
        last = grouped[name, max(NUMBERS)]
        model = facts.get(name)
        tokens, loss = (f"{model['tokens']:,}", f"{model['loss']:.2f}") if model else ("", "")
        variation = _spread([row["total_variation"] for row in last])
        lines.append(f"| {name} | {tokens} | {loss} | {len(last)} | {' | '.join(cells)} | {variation} |")
    return "\n".join(lines) + "\n"


def figure(grouped: dict[Key, list[dict]], path: Path) -> None:
    """Distance to the truth against the number of documents, a line a model, mean and range."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(7, 4.2), layout="constrained")
    axes = drawn.subplots()
    for name in dict.fromkeys(model for model, _ in grouped):
        values = [[row["kl"] for row in grouped[name, n]] for n in NUMBERS]
        means = [float(np.mean(v)) for v in values]
        axes.plot(NUMBERS, means, marker="o", markersize=3, label=name)
        axes.fill_between(NUMBERS, [min(v) for v in values], [max(v) for v in values], alpha=0.15)
    axes.axhline(CLAIM, color="grey", linestyle="--", linewidth=0.8)
    axes.set(xscale="log", yscale="log", xlabel="documents", ylabel="KL(estimate || truth), nats")
    axes.set_xticks(NUMBERS, [f"{n:,}" for n in NUMBERS])
    axes.minorticks_off()
    axes.legend(fontsize=8)
    drawn.savefig(path, metadata={"Date": None})


def _grouped(rows: Sequence[dict]) -> dict[Key, list[dict]]:
    grouped: dict[Key, list[dict]] = defaultdict(list)
    for row in rows:
        grouped[row["model"], row["documents"]].append(row)
    return grouped


def _spread(values: Sequence[float]) -> str:
    """Mean and range."""
    return f"{np.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def _samples(work: Path, name: str) -> list[str]:
    return texts_of(work / "runs" / f"{name}-0.parquet", SAMPLES)
