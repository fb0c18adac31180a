"""Pages say by rule what the numbers say: ahead, tied, behind, and how many runs there are."""

import numpy as np
import pytest
from tests.training.comparison.generated_results import results_below

from dmix.training.comparison.analysis.evidence import read_evidence
from dmix.training.comparison.analysis.tables import controller_rows
from dmix.training.comparison.analysis.verdict import Hypothesis, decisive_difference
from dmix.training.comparison.pages import page as pages
from dmix.warehouse_schema.errors import NotFoundError

AGENT = "agent:rl"

make_results = pytest.fixture(results_below)


def compare(results, edge, *, stage="confirmation", seeds=6, oscillation=0.01):
    """Agent and rival on shared seeds; the agent gains `edge` nats per token more on the target."""
    rng = np.random.default_rng(1)
    for seed in range(seeds):
        shared = rng.normal(0, 0.1)
        for name, extra in ((AGENT, edge), ("regmix", 0.0), ("natural", -0.2)):
            results.add(
                name,
                stage=stage,
                seed=seed,
                gains=(0, shared + extra + oscillation * rng.standard_normal()),
                layers=("development", "confirmation"),
                source_tokens=500 if name == AGENT else 1_000,
            )
    return results


def written(results, tmp_path):
    results.write()
    pages.write_page(results.folder.parent, tmp_path / "out")
    name = results.folder.name
    return (tmp_path / "out" / f"{name}.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("edge", "said", "short"),
    [(0.1, "is ahead of", "ahead"), (0.0, "ties with", "tie"), (-0.1, "is behind", "behind")],
)
def test_words_follow_the_interval(make_results, tmp_path, edge, said, short):
    results = compare(compare(make_results(), 0.05, stage="screening", seeds=2), edge)
    text = written(results, tmp_path)
    assert f"- **`{AGENT}` {said} `regmix`**" in text
    assert "over 6 paired runs and 12 items" in text
    assert "f00d" * 16 in text and "`abcdef012345`" in text and "two cores" in text
    index = (tmp_path / "out/index.md").read_text(encoding="utf-8")
    assert f"[sums](sums.md) | `{AGENT}` − `regmix` |" in index
    assert index.rstrip().endswith(f"| {short} |")


def test_files_are_the_same_bytes_every_time(make_results, tmp_path):
    results = compare(make_results(), 0.1)
    written(results, tmp_path)
    files = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert set(files) == {"sums.md", "sums.svg", "sums.csv", "index.md"}
    written(results, tmp_path)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == files


def test_links_of_a_page_lead_to_files(make_results, tmp_path):
    assert "](sums.svg)" in written(make_results().add("natural"), tmp_path)


def test_holm_is_taken_over_the_settings_that_the_protocol_names(make_results, tmp_path):
    for name in ("code", "law"):
        compare(make_results(name), 0.0).write()
    compare(make_results("medicine", facts={"promised": False}), 0.2).write()
    results = compare(make_results(facts={"hypothesis": {"agent": AGENT, "rival": "regmix"}}), 0.1)
    text = written(results, tmp_path)
    found = decisive_difference(read_evidence(results.folder), Hypothesis(AGENT, "regmix"))
    assert f"p = {found.p:.2g}; p = {3 * found.p:.2g} after Holm's" in text
    assert "after Holm's correction over the 3 settings" in (tmp_path / "out" / "index.md").read_text()


def test_difference_that_does_not_survive_holm_is_said_to_show_nothing(make_results):
    evidence = read_evidence(compare(make_results(), 0.1).write())
    rows = {"screening": [], "confirmation": controller_rows(evidence, "confirmation")}
    pair = Hypothesis(AGENT, "regmix")
    said = "After the correction, p is no longer below 0.05"
    for p, expected in ((0.2, True), (0.04, False)):
        text = pages.setting_page(evidence, rows=rows, study=None, pair=pair, adjusted_p=p)
        assert (said in text) == expected
        line = pages.overview([evidence], [pair], [p]).splitlines()[-1]
        assert line.endswith("| tie |" if expected else "| ahead |")


def test_page_appears_with_the_runs_that_are_done(make_results, tmp_path):
    results = make_results(facts={"planned": {"screening": 8, "confirmation": 10}})
    results.add("natural").add("naive", status="running").add("naive", seed=1, status="failed")
    text = written(results, tmp_path)
    assert "0 of 2 (1 failed, 1 running)" in text
    assert "| screening | 8 | 3 | 1 | 1 | 1 |" in text
    assert "| confirmation | 10 | 0 | 0 | 0 | 0 |" in text
    assert "Protocol: none yet." in text
    assert "0.000 [one seed]" in text


def test_headroom_appears_with_its_first_run(make_results, tmp_path):
    results = make_results()
    assert "## Headroom" not in written(results.add("natural"), tmp_path)
    results.add("static-0", stage="headroom", part="draw", kind="static", gains=(0, 0.1))
    text = written(results, tmp_path)
    assert (
        "best of 1 static mixtures (1 started) is `static-0`. In the run that selected it, its U is 0.250."
        in text
    )
    for seed in (1, 2):
        results.add("static-0", stage="headroom", part="rerun", kind="static", seed=seed, gains=(0, 0.06))
    text = written(results, tmp_path)
    assert "On 2 fresh seeds, its U is 0.150 [0.150, 0.150]. So the selection added +0.100." in text
    assert "| `static-0` | static | 0.250 | 0.150 |" in text


def test_screening_decides_nothing(make_results, tmp_path):
    text = written(compare(make_results(), 0.1, stage="screening"), tmp_path)
    assert "The screening only chooses the pair of the confirmation." in text
    assert "after Holm" not in text and "U confirmation" not in text
    assert f"`{AGENT}` is ahead of `regmix`, `natural`." in text
    assert f"500 source tokens per run, 50% fewer than `regmix`. `{AGENT}` is on the Pareto front" in text


def test_near_duplicates_that_change_the_verdict_are_told(make_results, tmp_path):
    results = make_results()
    for seed in range(4):
        for name in (AGENT, "regmix"):
            results.add(name, seed=seed, noise=0.0, near_duplicate=(0, 1, 2, 3, 4))
    for row in results.items:
        if row["near_duplicate"] and row["unit_id"].startswith(f"screening-{AGENT}"):
            row["score"] += 0.5
    text = written(results, tmp_path)
    assert f"near-duplicates of training text, the verdict is different: `{AGENT}` ties with `regmix`" in text


def test_bases_are_told_one_by_one(make_results, tmp_path):
    results = make_results(facts={"hypothesis": {"agent": AGENT, "rival": "natural"}})
    for base, edge in ((0, 0.1), (1, 0.3)):
        for seed in range(2):
            results.add(AGENT, seed=seed, base=base, gains=(0, edge)).add("natural", seed=seed, base=base)
    text = written(results, tmp_path)
    assert "| 0 | 2 | +0.250 [+0.250, +0.250] |" in text
    assert "| 1 | 2 | +0.750 [+0.750, +0.750] |" in text


def test_over_fitting_is_told_against_natural_mixing(make_results, tmp_path):
    results = make_results()
    for seed in range(2):
        for name in (AGENT, "natural"):
            results.add(name, seed=seed, layers=("feedback", "development"))
    for row in results.items:
        if row["layer"] == "feedback" and AGENT in row["unit_id"]:
            row["score"] += 0.1
    # ½ · 0.1/0.1 + ½ · 0.1/0.2
    assert f"| `{AGENT}` | +0.750 [+0.750, +0.750] |" in written(results, tmp_path)


def test_readers_are_warned(make_results, tmp_path):
    results = make_results(facts={"scales": "provisional"})
    results.add("a", utility_development=0.5).add("a", seed=1, layers=())
    results.add("b", unit="u", status="failed").add("b", unit="u", attempt=1)
    for seed, protocol in enumerate(("aa", "bb")):
        results.add("a", seed=seed, stage="confirmation", layers=("confirmation",), protocol_sha256=protocol)
    text = written(results, tmp_path)
    assert "1 failed attempt was made again" in text
    assert "Screening: 1 finished run has no usable development scores" in text
    assert "differ from those of their items by up to 0.5" in text
    assert "scales of the utility are provisional" in text
    assert "more than one protocol" in text


def test_folder_without_settings_is_refused(tmp_path):
    with pytest.raises(NotFoundError, match="has no setting"):
        pages.write_page(tmp_path, tmp_path / "out")
