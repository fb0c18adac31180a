"""The table of the page *A real model*, made of rows alone."""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np

Row = dict[str, Any]


def write_table(results: Path, docs: Path) -> None:
    """Writes `real-model.md` into `docs` from all files of rows in `results`."""
    rows: list[Row] = []
    for path in sorted(results.glob("*.jsonl")):
        newest = {}
        for line in path.read_text().splitlines():
            row = json.loads(line)
            newest[row["stage"]] = {**row, "size": path.stem}
        rows += newest.values()
    docs.mkdir(parents=True, exist_ok=True)
    (docs / "real-model.md").write_text(table_text(rows))


def table_text(rows: list[Row]) -> str:
    """The page of figures."""
    if not rows:
        return "No rows yet: run `make real-model`.\n"
    parts = [
        "# Figures of a real model\n\nThis page has all figures of the study of [a real"
        " model](../guide/real-model.md), which explains the words. The study has two sizes: `smallest`"
        " (`make real-model`) and `table` (`make real-model-table`). Each heading names the size.\n"
    ]
    for size in dict.fromkeys(row["size"] for row in rows):
        of_size = {row["stage"]: row for row in rows if row["size"] == size}
        for make in (_scores, _differences, _promises, _agreement, _tasks, _written, _time):
            if text := make(of_size):
                parts.append(text.replace("### ", f"### {size}: ", 1))
    return "\n".join(parts)


def _runs(rows: dict[str, Row]) -> dict[tuple[str, str], list[str]]:
    """Names of the runs that are judged to the end, by target and controller."""
    found = defaultdict(list)
    for stage in rows:
        kind, _, run = stage.partition("/")
        if kind == "run" and f"judge/{run}/end" in rows:
            target, _, rest = run.partition("-")
            found[target, rest.rpartition("-")[0]].append(run)
    return dict(found)


def _scores(rows: dict[str, Row]) -> str:
    lines = []
    for (target, controller), runs in _runs(rows).items():
        start = rows.get(f"judge/{target}/start", {}).get("scores", {})
        for name, before in start.items():
            middle = [
                rows[f"judge/{run}/middle"]["scores"][name] for run in runs if f"judge/{run}/middle" in rows
            ]
            end = [rows[f"judge/{run}/end"]["scores"][name] for run in runs]
            fed = [_feedback_gain(rows[f"run/{run}"], name) for run in runs]
            minutes = mean(rows[f"run/{run}"]["core_seconds"] / 60 for run in runs)
            lines.append(
                [target, controller, name, f"{before:.3f}", _mean(middle), _spread(end),
                 f"{mean(end) - before:+.3f}", f"{mean(fed):+.3f}", str(len(runs)),
                 f"{rows[f'run/{runs[0]}']['summary']['tokens']:,}", f"{minutes:.1f}",
                 rows[f"run/{runs[0]}"]["machine"]]
            )  # fmt: skip
    head = ["target", "controller", "objective", "judging items: start", "middle", "end", "gain",
            "gain on feedback items", "seeds", "tokens", "core minutes", "machine"]  # fmt: skip
    intro = (
        "Each row shows the scores of one objective before, in the middle and at the end of the runs. *Gain*"
        " is the end minus the start. No controller read the judging items during a run; the feedback items"
        " are scored during the run."
    )
    return _section("Scores, nats per token, mean over seeds ± standard deviation", intro, head, lines)


def _differences(rows: dict[str, Row]) -> str:
    """What each controller gained over natural mixing of the same seed, on the judging items."""
    runs, lines = _runs(rows), []
    for (target, controller), own in runs.items():
        natural = {run.rpartition("-")[2]: run for run in runs.get((target, "natural"), [])}
        pairs = [(run, natural[seed]) for run in own if (seed := run.rpartition("-")[2]) in natural]
        if controller == "natural" or not pairs:
            continue
        names = list(rows[f"judge/{pairs[0][0]}/end"]["scores"])
        found = {
            name: [_end(rows, run, name) - _end(rows, other, name) for run, other in pairs] for name in names
        }
        found["mean of all"] = [mean(of_seed) for of_seed in zip(*found.values(), strict=True)]
        lines += [
            [
                target,
                controller,
                name,
                _signed_spread(values),
                str(sum(v > 0 for v in values)),
                str(len(values)),
            ]
            for name, values in found.items()
        ]
    head = ["target", "controller", "objective", "difference", "seeds ahead", "seeds"]
    title = "Gain over natural mixing of the same seed, nats per token, mean ± standard deviation"
    intro = (
        "Each row compares runs of one controller with the natural runs of the same seeds, on the judging"
        " items. *Seeds ahead* counts the pairs in which the controller scores higher. *Mean of all* is the"
        " mean over the four objectives."
    )
    return _section(title, intro, head, lines)


def _signed_spread(values: Sequence[float]) -> str:
    spread = f" ± {stdev(values):.3f}" if len(values) > 1 else ""
    return f"{mean(values):+.3f}{spread}"


def _feedback_gain(run: Row, name: str) -> float:
    summary = run["summary"]
    gain: float = summary["scores_after"][name] - summary["scores_before"][name]
    return gain


def _promises(rows: dict[str, Row]) -> str:
    """What each plan promised over natural mixing, and what its runs got where they were made."""
    runs = _runs(rows)
    lines = []
    for stage, row in rows.items():
        if not stage.startswith("plan/"):
            continue
        _, target, estimator = stage.split("/")
        natural, planned = runs.get((target, "natural"), []), runs.get((target, f"plan-{estimator}"), [])
        for name, promised in row["plan"]["objectives"].items():
            got = [_end(rows, run, name) for run in planned]
            base = [_end(rows, run, name) for run in natural]
            difference = f"{mean(got) - mean(base):+.3f}" if got and base else "no run"
            lines.append(
                [target, estimator, name, f"{promised['gain']:+.3f} ± {promised['stderr']:.3f}", difference,
                 str(min(len(got), len(base)))]
            )  # fmt: skip
    head = ["target", "estimator", "objective", "predicted", "measured (judging items)", "seeds"]
    intro = (
        "Each row shows the gain of a plan over natural mixing on one objective: the gain that the estimator"
        " predicted, and the gain that the runs reached. `counts` compares word pairs; `model-counts` gives"
        " credit only for text that the model does not predict well yet."
    )
    return _section("Predicted and measured gain over natural mixing, nats per token", intro, head, lines)


def _end(rows: dict[str, Row], run: str, name: str) -> float:
    score: float = rows[f"judge/{run}/end"]["scores"][name]
    return score


def _agreement(rows: dict[str, Row]) -> str:
    """Pearson correlation of each estimator's effects with those of counts, over domains."""
    by_target: dict[str, dict[str, Row]] = defaultdict(dict)
    for stage, row in rows.items():
        if stage.startswith("effects/"):
            _, target, estimator = stage.split("/")
            by_target[target][estimator] = row["effects"]
    lines = []
    for target, found in by_target.items():
        for estimator in [name for name in found if name != "counts" and "counts" in found]:
            counts, other = _effects(found["counts"]), _effects(found[estimator])
            names = [name for name in counts[0] if name in other[0]]
            domains = [domain for domain in counts[1] if domain in other[1]]
            for name in names:
                pairs = np.array([[counts[1][d][name], other[1][d][name]] for d in domains])
                same = np.ptp(pairs, axis=0).min() == 0
                pearson = "constant" if same else f"{np.corrcoef(pairs.T)[0, 1]:.2f}"
                lines.append([target, estimator, name, pearson, str(len(domains))])
    head = ["target", "estimator", "objective", "Pearson with counts", "domains"]
    intro = (
        "Each row shows, for one objective, how well the effects of an estimator agree with those of"
        " `counts`: Pearson's correlation over the domains. *Constant* means that one of the two"
        " estimators shows no difference between the domains."
    )
    return _section("Agreement of estimators", intro, head, lines)


def _effects(found: Row) -> tuple[list[str], dict[str, Row]]:
    """Names of the objectives, and rows of effects by domain."""
    by_domain = {f"{row['field']}/{row['domain']}": row for row in found["effects"]}
    return [row["objective"] for row in found["objectives"]], by_domain


def _tasks(rows: dict[str, Row]) -> str:
    runs = _runs(rows)
    lines = []
    for target in dict.fromkeys(target for target, _ in runs):
        start = {_task(found): found for found in rows.get(f"eval/{target}/start", {}).get("evaluations", [])}
        for task, before in start.items():
            lines.append([target, "checkpoint", *task, f"{before['value']:.3f}", "", str(before["items"])])
        for (of, controller), names in runs.items():
            ended = [rows[f"eval/{run}"]["evaluations"] for run in names if f"eval/{run}" in rows]
            if of != target or not ended:
                continue
            for task, before in start.items():
                values = [found["value"] for one in ended for found in one if _task(found) == task]
                if values:
                    lines.append(
                        [target, controller, *task, _spread(values), str(len(values)), str(before["items"])]
                    )
    head = ["target", "controller", "task", "metric", "value", "seeds", "items"]
    intro = "Each row shows one metric of a benchmark, for the checkpoint before training or after the runs."
    return _section("Local tasks", intro, head, lines)


def _task(found: Row) -> tuple[str, str]:
    return found["task"], found["metric"]


def _written(rows: dict[str, Row]) -> str:
    said = []
    for stage, row in rows.items():
        if "wrote" in row:
            text = " ".join(row["wrote"].split())
            said.append(
                f"- Loading the trained model (target {_target(stage)}): with the library `transformers`, the"
                f" model writes `{text}`"
            )
        if "said" in row:
            said.append(
                f"- Wrong tokenizer (target {_target(stage)}): if the data has another tokenizer than the"
                f" model, `dmix train` does not start. It prints a message and ends with exit"
                f" code {row['exit']}."
            )
        if "synthesis" in row:
            made = row["synthesis"]
            said.append(
                f"- Text that the model wrote: {made['generated']} documents of at most {made['max_tokens']}"
                f" tokens. The quality filter kept {made['share_kept']:.1%}. The limit cut off"
                f" {made['capped']} documents."
            )
        if "start_state" in row:
            said.append(f"- {_start_state(row['start_state'])}")
    return "" if not said else "### Messages and written text\n\n" + "\n".join(said) + "\n"


def _target(stage: str) -> str:
    """The target that a stage such as `refusal/math` is about."""
    return stage.partition("/")[2]


def _start_state(found: Row) -> str:
    largest = sorted(found["domains"], key=lambda row: -row["document_weight"])[:5]
    shares = ", ".join(
        f"{row['domain']} {row['document_weight']:.2f}"
        f" [{row['document_low']:.2f}, {row['document_high']:.2f}]"
        for row in largest
    )
    curve = ", ".join(f"{point['divergence_bound']:.3f} ({point['documents']})" for point in found["curve"])
    return (
        f"Start state (shares of the domains): in a separate test, the model wrote {found['generated']}"
        " documents, and dmix estimated the shares from them. dmix measures the sampling error by an upper"
        " bound on the KL divergence between the estimated and the true shares. The bound is"
        f" {found['divergence_bound']:.3f} nats; the limit was {found['kl_bound']}. The bound by number of"
        f" documents: {curve}. The largest shares, with intervals: {shares}."
    )


def _time(rows: dict[str, Row]) -> str:
    by_kind: dict[str, list[Row]] = defaultdict(list)
    for stage, row in rows.items():
        by_kind[stage.partition("/")[0]].append(row)
    lines = [
        [kind, str(len(of)), f"{mean(row['core_seconds'] for row in of):.0f}",
         f"{sum(row['core_seconds'] for row in of) / 60:.1f}"]
        for kind, of in by_kind.items()
    ]  # fmt: skip
    every = list(rows.values())
    total = sum(row["core_seconds"] for row in every) / 60
    dates = sorted({row["date"] for row in every})
    commits = ", ".join(sorted({row["commit"] for row in every}))
    return (
        _section(
            "Time",
            "Each row shows the processor time of one kind of stage; *rows* is the number of its stages.",
            ["stage", "rows", "core seconds each", "core minutes"],
            lines,
        )
        + f"\nThe total is {total:.0f} minutes of one core, {_period(dates)}. The mean"
        f" load of the machine was {mean(row['load_before'] for row in every):.1f}. Commits: {commits}.\n"
    )


def _period(dates: Sequence[str]) -> str:
    """The days of the sorted dates, in words."""
    return f"on {dates[0]}" if dates[0] == dates[-1] else f"from {dates[0]} to {dates[-1]}"


def _mean(values: Iterable[float]) -> str:
    found = list(values)
    return f"{mean(found):.3f}" if found else ""


def _spread(values: Sequence[float]) -> str:
    return f"{mean(values):.3f} ± {stdev(values):.3f}" if len(values) > 1 else f"{mean(values):.3f}"


def _section(title: str, intro: str, head: list[str], lines: list[list[str]]) -> str:
    """A heading, a sentence that explains the table, and the table; empty without lines."""
    if not lines:
        return ""
    table = [head, ["---"] * len(head), *lines]
    return f"### {title}\n\n{intro}\n\n" + "".join(f"| {' | '.join(row)} |\n" for row in table)
