"""The stage `worlds` at toy size: a fitting world, priors from its rows, a held-out world that they steer."""

import hashlib
import itertools
import json
import subprocess
from dataclasses import asdict, replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from benchmarks.worlds.priors import WorldRuns, fit_priors
from benchmarks.worlds.rows import WorldRow, ahead, judged_rows, promised_and_got, rungs, world_runs
from tests.training.comparison.conftest import MODEL, SETTING, TRAINING, write_lines

from dmix.cli.workflows.data.comparison import prepare_comparison
from dmix.cli.workflows.effects.comparison import measure_world
from dmix.training.comparison.data.settings import load_setting
from dmix.training.comparison.effects.world_plans import (
    PLAIN,
    PRIORS_FILE,
    priors_file,
    read_priors,
)
from dmix.training.comparison.runs.comparison import Request, reports, run_comparison, study_of
from dmix.training.comparison.runs.protocol import PROTOCOL_FILE
from dmix.warehouse_schema.errors import InputError, NotFoundError

pytestmark = [pytest.mark.timeout(1800), pytest.mark.long]
WORLD = {
    **SETTING,
    "name": "fitting-00",
    "protocol": 3,
    "bases": 2,
    "base_tokens": 8_192,
    "small_pools": {},
    "external": ["essays_c"],
    "world": "fitting",
    "run_base": 1,
    "objectives": [
        {"name": "general", "role": "general", "corpora": ["essays_c"], "origin": "out"},
        {"name": "target", "role": "target", "path": "items/problems.jsonl"},
    ],
}


@pytest.fixture(scope="module")
def worlds(toy_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("worlds")
    data = folder / "data"
    for name in (
        "source/essays_a",
        "source/essays_b",
        "target/Games",
        "target/Food_and_Drink",
        "items/problems",
    ):
        lines = (toy_data / f"{name}.jsonl").read_text().splitlines()
        write_lines(data / f"{name}.jsonl", [json.loads(line) for line in lines])
    essays = [json.loads(line) for line in (toy_data / "source" / "essays_b.jsonl").read_text().splitlines()]
    apart = [{"text": " ".join(reversed(r["text"].split()))} for r in essays[:40]]
    write_lines(data / "source" / "essays_c.jsonl", apart)
    held_out = {**WORLD, "name": "held-out-00", "world": "held-out", "seed": 5}
    ladder = {**WORLD, "name": "ladder-00", "world": "ladder"}
    files = {"fitting-00": WORLD, "held-out-00": held_out, "ladder-00": ladder}
    files |= {"model": MODEL, "base-training": TRAINING, "training": TRAINING}
    for name, content in files.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content))
    return folder


def run(folder, name, lines, stages=("worlds",)):
    loaded = load_setting(str(folder / f"{name}.yaml"))
    request = Request(
        tier="smoke",
        stages=stages,
        data=folder / "data",
        work=folder / "work",
        results=folder / "results",
        workers=1,
    )

    def prepare(study):
        prepare_comparison(study, master=None)
        measure_world(study)

    return run_comparison(loaded, request, prepare=prepare, progress=lines.append), request, loaded


def commit_protocol(folder):
    protocol = {
        "settings": ["held-out-00"],
        "hypothesis": "ahead",
        "agent": "effect",
        "least_ahead": 1,
        "analysis": "mean of two seeds",
    }
    (folder / PROTOCOL_FILE).write_text(json.dumps(protocol))
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    for arguments in (("init", "-q"), ("add", PROTOCOL_FILE), (*identity, "commit", "-q", "-m", "protocol")):
        subprocess.run(["git", "-C", str(folder), *arguments], check=True, capture_output=True)


def test_a_fitting_world_teaches_priors_and_a_held_out_one_follows_them(worlds):
    lines = []
    (report,), _, _ = run(worlds, "fitting-00", lines)
    assert (report.stage, report.planned, report.done) == ("worlds", 4, 4), "\n".join(lines)
    runs = pq.read_table(worlds / "results" / "fitting-00" / "runs.parquet").to_pandas()
    assert sorted(runs.controller) == ["fresh-0", "fresh-1", "natural", "plan"]
    assert set(runs.base) == {1}
    found = world_runs(worlds / "results" / "fitting-00")
    assert found.mixtures_PN.shape == (3, len(found.natural_N)) and np.isfinite(found.gains_PD).all()
    assert found.promised_PD.any() and len(found.natural_TD) == WORLD["steps"] + 1

    loaded = load_setting(str(worlds / "held-out-00.yaml"))
    with pytest.raises(NotFoundError, match="fit"):
        read_priors(priors_file(loaded.file, "held-out"))
    priors = fit_priors([found, replace(found, gains_PD=found.gains_PD * 0.9)])
    (worlds / PRIORS_FILE).write_text(json.dumps(asdict(priors)))
    with pytest.raises(NotFoundError, match="write the protocol"):
        run(worlds, "held-out-00", lines)
    commit_protocol(worlds)
    (report,), request, loaded = run(worlds, "held-out-00", lines)
    assert (report.planned, report.done) == (3, 3), "\n".join(lines)
    rows = judged_rows(worlds / "results" / "held-out-00")
    assert sorted(row.controller for row in rows) == ["counts-plan", "effect", "natural"]
    runs = pq.read_table(worlds / "results" / "held-out-00" / "runs.parquet").to_pandas()
    assert set(runs.protocol_sha256) == {hashlib.sha256((worlds / PROTOCOL_FILE).read_bytes()).hexdigest()}
    promised, got = promised_and_got(worlds / "results" / "held-out-00", PLAIN, name="counts-plan")
    assert np.isfinite([promised, got]).all()
    (worlds / PRIORS_FILE).write_text(json.dumps(asdict(replace(priors, q=9.0))))
    (report,) = reports(study_of(loaded, request, lines.append))
    assert report.done == 2, "other priors are another agent, and all else stays"
    own = priors_file(worlds / "ladder-00.yaml", "ladder")
    own.write_text(json.dumps(asdict(priors)))
    assert own.name == "priors-ladder-00.json"
    report = run(worlds, "ladder-00", lines)[0][0]
    assert (report.planned, report.done) == (4, 4), "\n".join(lines)
    rows = judged_rows(worlds / "results" / "ladder-00")
    steps = list(itertools.pairwise(("natural", "counts-plan", "plan", "effect")))
    assert [rung.name for rung in rungs(rows, steps)] == ["counts-plan", "plan", "effect"]


@pytest.mark.slow
def test_a_ladder_world_runs_checks_and_probes_and_the_plans_that_follow(worlds):
    lines = []
    priors = replace(PLAIN, q=0.1, gamma=0.1)
    priors_file(worlds / "ladder-00.yaml", "ladder").write_text(json.dumps(asdict(priors)))
    reports, _, _ = run(worlds, "ladder-00", lines, stages=("worlds", "rungs"))
    done = {report.stage: (report.planned, report.done) for report in reports}
    assert done["worlds"][0] == done["worlds"][1], "\n".join(lines)
    # four pulls, natural mixing twice, and a seed of each plan, beside the probes
    assert done["rungs"][0] == done["rungs"][1] >= 4 + 2 + 2 + 4
    rows = judged_rows(worlds / "results" / "ladder-00")
    plans = {"natural", "counts-plan", "plan", "effect"}
    assert {row.controller for row in rows} == plans | {"checked-plan", "probed-plan"}


def test_priors_by_hand():
    """Counts promise 1 for one run and 2 for another; 0.5 and 1 came: beta is near a half."""
    natural_N = np.array([0.5, 0.5])
    world = WorldRuns(
        roles=("general",),
        specs=("fresh:0/2",) * 80,
        scales_D=np.array([1.0]),
        mixtures_PN=np.array([[0.6, 0.4], [0.7, 0.3]] * 40),
        natural_N=natural_N,
        target_N=np.array([False, True]),
        promised_PD=np.array([[1.0], [2.0]] * 40),
        linear_PD=np.zeros((80, 1)),
        gains_PD=np.array([[0.5], [1.0]] * 40),
        rate_shares_M=np.full(3, 1 / 3),
        natural_TD=np.array([[0.0], [1.0], [2.0], [3.0]]),
    )
    targets = replace(world, roles=("target",))
    priors = fit_priors([world, targets, replace(world, natural_TD=world.natural_TD * 2), targets])
    assert priors.beta == pytest.approx(0.5, abs=0.1)
    assert priors.gamma == 0 and priors.natural_gain == {"general": 4.5, "target": 3.0}
    assert priors.noise == pytest.approx(0, abs=1e-9) and priors.worlds == 4
    with pytest.raises(InputError, match="at least 2"):
        fit_priors([world])
    assert PLAIN.digest != priors.digest


def test_worlds_that_are_won():
    rows = [
        WorldRow(world=world, controller=name, seed=0, utility=utility, nats=0.0)
        for world, name, utility in [
            ("a", "x", 1.0),
            ("a", "y", 0.0),
            ("b", "x", 0.0),
            ("b", "y", 1.0),
            ("c", "x", 1.0),
        ]
    ]
    assert ahead(rows, "x", "y") == (1, 2) and ahead(rows, "x", "z") == (0, 0)


def test_a_rung_has_the_interval_of_students_t():
    gains = {"a": 1.0, "b": 2.0, "c": 3.0}
    rows = [
        WorldRow(world=world, controller=name, seed=seed, utility=gain * (name == "plan"), nats=0.0)
        for world, gain in gains.items()
        for name in ("natural", "plan")
        for seed in (0, 1)
    ]
    (found,) = rungs(rows, [("natural", "plan"), ("plan", "effect")])
    assert (found.before, found.name, found.worlds, found.won) == ("natural", "plan", 3, 3)
    assert found.gain == pytest.approx(2.0)
    # t of 0.975 with 2 degrees of freedom is 4.303; the standard error of (1, 2, 3) is 1 / sqrt(3)
    assert found.half_width == pytest.approx(4.303 / 3**0.5, abs=1e-3)
