"""`dmix train`, alone and under Composer's launcher, killed and resumed."""

import importlib.util
import json
import multiprocessing
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from dmix.cli.commands import train as train_module
from dmix.cli.main import run
from dmix.mixing.controllers.registry import CONTROLLERS
from dmix.training.run import run as run_module
from dmix.training.run.summary import summarise
from dmix.warehouse_schema.catalog.catalog import Catalog
from dmix.warehouse_schema.files.events import read_events

BIN = Path(sys.executable).parent


@pytest.fixture
def arguments(tiny_warehouse, environment_file, tiny_model, tmp_path, monkeypatch):
    """`dmix train …` for six steps of three batches; a fresh model file and training file."""
    monkeypatch.setenv("DMIX_WAREHOUSE", str(tiny_warehouse.root))
    model, training = tmp_path / "model.yaml", tmp_path / "training.yaml"
    model.write_text(yaml.safe_dump({"architecture": "llama", "config": tiny_model.config}))
    training.write_text("{batch_size: 8, learning_rate: 3e-3, checkpoint_steps: 0, checkpoint_batches: 2}")
    return [
        *("train", "--model", str(model), "--training", str(training)),
        *("--environment", str(environment_file), "--controller", "natural"),
        *("--steps", "6", "--samples-per-step", "24", "--exhaustion", "repeat"),
    ]


def files_of(warehouse):
    """Content of each file but the catalog, which follows the other runs of these tests."""
    files = (path for path in warehouse.root.rglob("*") if path.is_file() and path != warehouse.catalog)
    return {path: path.read_bytes() for path in files}


def chains(warehouse, run_id):
    path = warehouse.run(run_id) / "events.jsonl"
    return {e["step"]: e["chain"] for e in read_events(path) if e["event"] == "step_done"}


def test_a_run_ends_in_the_catalog_and_in_a_table(arguments, tiny_warehouse, capsys):
    assert run([*arguments, "--run", "shown"]) == 0
    shown = capsys.readouterr()
    assert "step 6/6" in shown.err and "6 steps, 2,304 tokens" in shown.err
    assert "score before" in shown.out and "general" in shown.out
    with Catalog.open_reader(tiny_warehouse) as catalog:
        _, rows = catalog.query(
            "SELECT step, sum(delivered_samples), bool_and(delivered_samples = planned_samples)"
            " FROM mixture WHERE run_id = 'shown' GROUP BY step ORDER BY step"
        )
        assert [tuple(row) for row in rows] == [(step, 24, True) for step in range(1, 7)]
        _, rows = catalog.query("SELECT status, kind, controller FROM runs WHERE run_id = 'shown'")
        assert [tuple(row) for row in rows] == [("done", "baseline", "natural")]
        _, rows = catalog.query("SELECT count(*) FROM run_feedback WHERE run_id = 'shown'")
        assert rows[0][0] == 7 * 2


def test_json_holds_the_summary_alone(arguments, capsys):
    assert run([*arguments, "--run", "as-json", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["run_id"] == "as-json" and shown["steps"] == 6 and shown["finished"]
    assert shown["scores_after"]["general"] > shown["scores_before"]["general"]


def test_a_dry_run_tells_sizes_and_time_and_writes_nothing(arguments, tiny_warehouse, capsys):
    assert run([*arguments, "--run", "dry", "--dry-run", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert (plan["steps"], plan["step_samples"], plan["tokens"]) == (6, 24, 2304)
    assert plan["parameters"] > 10_000 and plan["hours"] > 0
    assert not tiny_warehouse.run("dry").exists()


class Writer:
    """What Composer's logger asks of tensorboard's writer; it keeps the numbers by name."""

    folders, scalars, file_writer = [], {}, None

    def __init__(self, log_dir, **_):
        self.folders.append(log_dir)

    def add_scalar(self, name, value, global_step):
        self.scalars.setdefault(name, []).append(value)

    def flush(self):
        pass

    def close(self):
        pass


def test_a_logger_of_the_flag_gets_the_metrics_of_every_step(
    arguments, tiny_warehouse, tmp_path, monkeypatch
):
    (tmp_path / "tensorboard.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=Writer))
    assert run([*arguments, "--steps", "2", "--run", "logged", "--logger", "tensorboard"]) == 0
    assert {Path(folder).parent for folder in Writer.folders} == {
        tiny_warehouse.run("logged") / "tensorboard"
    }
    assert Writer.scalars["step"] == [1, 2]
    assert {"score/general", "utility", "mixture/source/A", "loss/target/A"} <= set(Writer.scalars)


def test_a_logger_that_is_not_installed_stops_the_command_before_it_makes_a_run(
    arguments, tiny_warehouse, capsys, monkeypatch
):
    known = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "mlflow" else known(name))
    assert run([*arguments, "--run", "unlogged", "--logger", "mlflow"]) == 1
    assert "pip install 'dmix[loggers]'" in capsys.readouterr().err
    assert not tiny_warehouse.run("unlogged").exists()


def test_a_resumed_run_takes_its_loggers_from_the_flag_and_refuses_other_settings(
    arguments, tiny_warehouse, tmp_path, monkeypatch, capsys
):
    assert run([*arguments, "--steps", "2", "--run", "relogged"]) == 0
    capsys.readouterr()
    assert run(["train", "--run", "relogged", "--resume", "--steps", "40"]) == 2
    assert "--steps is 40, but run" in capsys.readouterr().err
    log = tiny_warehouse.run("relogged") / "events.jsonl"
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:-1]))  # it was killed at its end
    written = (tiny_warehouse.run("relogged") / "config.yaml").read_bytes()
    (tmp_path / "tensorboard.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    jobs = []

    def train(job, **_):
        jobs.append(job)
        return summarise(tiny_warehouse.run("relogged") / "events.jsonl")

    monkeypatch.setattr("dmix.training.run.launch.train", train)
    assert run(["train", "--run", "relogged", "--resume", "--logger", "tensorboard"]) == 0
    assert run(["train", "--run", "relogged", "--resume"]) == 0
    capsys.readouterr()
    assert [(job.training.loggers, job.steps) for job in jobs] == [(("tensorboard",), 2), ((), 2)]
    assert (tiny_warehouse.run("relogged") / "config.yaml").read_bytes() == written
    assert run(["train", "--run", "relogged", "--resume", "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["steps"] == 2 and len(jobs) == 2


def test_one_command_starts_resumes_and_shows_a_run(arguments, tiny_warehouse, tmp_path, capsys):
    fails = tmp_path / "fails.py"
    fails.write_text(
        "import os\nfrom dmix.mixing.controllers import Proposal\n\nclass Fails:\n"
        "    def propose(self, history):\n"
        "        if history.step == 2 and os.environ.get('DMIX_TEST_FAILS'):\n"
        "            raise ZeroDivisionError('a slip')\n"
        "        return Proposal(history.space.natural_N.copy())\n"
    )
    arguments[arguments.index("natural")] = f"python:{fails}:Fails"
    command = [*arguments, "--run", "repeated", "--steps", "2"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DMIX_TEST_FAILS", "1")
        for _ in range(2):
            assert run(command) == 2
            assert "ZeroDivisionError: a slip" in capsys.readouterr().err
        assert run(command) == 1
        assert "failed twice at step 2" in capsys.readouterr().err
    for change, said in (
        (["--seed", "7"], "seed is 7, but run"),
        (["--steps", "5"], "steps is 5, but run"),
    ):
        assert run([*command, *change]) == 2
        assert said in capsys.readouterr().err
    assert run(["train", "--run", "repeated", "--resume"]) == 0
    everything = files_of(tiny_warehouse)
    capsys.readouterr()
    for again in (command, ["train", "--run", "repeated"], ["train", "--run", "repeated", "--resume"]):
        assert run([*again, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["finished"]
        assert run(again) == 0 and "nothing was trained" in capsys.readouterr().err
        assert run([*again, "--dry-run"]) == 0 and "nothing to train" in capsys.readouterr().err
        assert run([*again, "--steps", "5"]) == 2
        assert "steps is 5, but run" in capsys.readouterr().err
    rate = tmp_path / "rate.yaml"
    rate.write_text("{batch_size: 8, learning_rate: 1e-3, checkpoint_steps: 0, checkpoint_batches: 2}")
    assert run(["train", "--run", "repeated", "--resume", "--training", str(rate)]) == 2
    assert "ended after 2 steps, so learning_rate cannot change" in capsys.readouterr().err
    assert files_of(tiny_warehouse) == everything
    log = tiny_warehouse.run("repeated") / "events.jsonl"
    written = log.read_bytes()
    log.write_bytes(written + b"3\n")  # a complete line that is no event
    assert run(["train", "--run", "repeated", "--resume"]) == 0
    assert log.read_bytes() == written


def test_a_resume_changes_steps_rate_and_checkpoints_kept_and_records_it(
    arguments, tiny_warehouse, environment_file, tmp_path, capsys
):
    fails = tmp_path / "stops.py"
    fails.write_text(
        "import os\nfrom dmix.mixing.controllers import Proposal\n\nclass Stops:\n"
        "    def propose(self, history):\n"
        "        if history.step == 2 and os.environ.get('DMIX_TEST_STOPS'):\n"
        "            raise ZeroDivisionError('a slip')\n"
        "        return Proposal(history.space.natural_N.copy())\n"
    )
    arguments[arguments.index("natural")] = f"python:{fails}:Stops"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DMIX_TEST_STOPS", "1")
        assert run([*arguments, "--run", "retuned", "--steps", "2"]) == 2
    other = tmp_path / "other.yaml"
    other.write_text(
        "{batch_size: 8, learning_rate: 1e-3, checkpoint_steps: 0, checkpoint_batches: 2,"
        " checkpoints_kept: 1}"
    )
    again = ["train", "--run", "retuned", "--training", str(other)]
    capsys.readouterr()
    assert run(again) == 2
    assert "learning-rate is 0.001, but run" in capsys.readouterr().err
    _a_dry_run_says_what_a_resume_would_change(again, tiny_warehouse, environment_file, capsys)
    rates = []
    with pytest.MonkeyPatch.context() as patch:
        known = run_module.keep_model
        patch.setattr(
            run_module,
            "keep_model",
            lambda job, model, optimizer: (
                rates.extend((optimizer.param_groups[0]["initial_lr"], optimizer.param_groups[0]["lr"])),
                known(job, model, optimizer),
            ),
        )
        assert run([*again, "--resume", "--steps", "3"]) == 0
    assert rates[0] == 1e-3 and 0 < rates[1] < 1e-3
    written = list(read_events(tiny_warehouse.run("retuned") / "events.jsonl"))
    notes = {event["detail"] for event in written if event["event"] == "note"}
    assert {
        "steps changed from 2 to 3",
        "learning_rate changed from 0.003 to 0.001",
        "checkpoints_kept changed from 2 to 1",
    } <= notes
    # the checkpoint lies before the last batch of step 1, which is so done again
    assert [event["step"] for event in written if event["event"] == "step_done"] == [1, 1, 2, 3]
    assert len(list((tiny_warehouse.run("retuned") / "checkpoints").glob("*.pt"))) == 1
    assert run(["train", "--run", "retuned", "--resume", "--steps", "9"]) == 2
    assert "ended after 3" in capsys.readouterr().err


def test_a_finished_run_that_kept_its_model_alone_cannot_go_back(arguments, tiny_warehouse, tmp_path, capsys):
    training = tmp_path / "training.yaml"
    training.write_text("batch_size: 8\nkeep: model\n")
    assert run([*arguments, "--run", "lean", "--steps", "1", "--training", str(training)]) == 0
    capsys.readouterr()
    assert run(["train", "--run", "lean", "--resume", "--back"]) == 2
    said = capsys.readouterr().err
    assert "kept only its model" in said and "loading" not in said


def _a_dry_run_says_what_a_resume_would_change(again, warehouse, environment_file, capsys):
    before = {path: path.read_bytes() for path in warehouse.run("retuned").rglob("*") if path.is_file()}
    dry = [*again, "--resume", "--dry-run", "--json"]
    assert run([*dry, "--steps", "3"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["steps"] == 3
    assert {
        "steps changed from 2 to 3",
        "learning_rate changed from 0.003 to 0.001",
        "checkpoints_kept changed from 2 to 1",
        "resuming from step0-ba2.pt",
    } <= set(plan["notes"])
    other = environment_file.with_name("other-environment.yaml")
    other.write_text(environment_file.read_text() + "scales: {general: 9.0}\n")
    for change, said in (
        (["--seed", "7"], "seed is 7, but run"),
        (["--batch-size", "16"], "batch-size is 16, but run"),
        (["--steps", "1"], "--steps is 1, but run retuned started with 2 steps and has done 1"),
        (["--back"], "no complete checkpoint before"),
        (["--environment", str(other)], "environment: scales"),
    ):
        assert run([*dry, *change]) == 2, change
        assert said in capsys.readouterr().err
    after = {path: path.read_bytes() for path in warehouse.run("retuned").rglob("*") if path.is_file()}
    assert after == before


@pytest.mark.parametrize("keep", ["all", "model"])
def test_items_that_changed_are_refused_unless_they_are_accepted(
    arguments, tiny_warehouse, tmp_path, capsys, keep
):
    at = arguments.index("--environment") + 1
    environment = Path(arguments[at])
    folder = Path(shutil.copytree(environment.parent, tmp_path / "items"))
    arguments[at] = str(folder / environment.name)
    (tmp_path / "training.yaml").write_text(f"batch_size: 8\nkeep: {keep}\n")
    command = [*arguments, "--run", f"changed-{keep}", "--steps", "1"]
    assert run(command) == 0
    run_folder = tiny_warehouse.run(f"changed-{keep}")
    before = {path: path.read_bytes() for path in run_folder.rglob("*") if path.is_file()}
    (folder / "general.jsonl").write_text(json.dumps({"id": "g", "text": "dcba dcba"}))
    resume = ["train", "--run", f"changed-{keep}", "--resume"]
    capsys.readouterr()
    for again in (resume, command, [*resume, "--dry-run"]):
        assert run(again) == 2
        assert "items of objective general changed" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in run_folder.rglob("*") if path.is_file()} == before
    assert run([*resume, "--accept-changes"]) == 0
    assert "nothing was trained" in capsys.readouterr().err
    after = {path: path.read_bytes() for path in run_folder.rglob("*") if path.is_file()}
    assert {path.name for path in after if after[path] != before[path]} == {"events.jsonl"}
    events = list(read_events(run_folder / "events.jsonl"))
    (change,) = [event for event in events if event["event"] == "content_changed"]
    starts = [e["content"][change["what"]] for e in events if e["event"] == "run_started"]
    assert starts == [change["before"], change["after"]]
    assert run(resume) == run(command) == 0
    assert list(read_events(run_folder / "events.jsonl")) == events
    capsys.readouterr()
    run(["etl", "verify"])
    assert f"run changed-{keep}: the items of objective general changed from" in capsys.readouterr().err
    report = tmp_path / "report.html"
    assert run(["report", "--run", f"changed-{keep}", "--out", str(report)]) == 0
    assert "the items of objective general changed from" in report.read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--agent", "x"], "got both"),
        (["--samples-per-step", "20"], "nearest valid: 16 and 24"),
        (["--resume"], "give it with --run"),
        (["--resume", "--run", "absent"], "run 'absent' is not in"),
        (["--environment", "absent.yaml"], "absent.yaml does not exist"),
    ],
)
def test_bad_usage_is_one_sentence_and_exit_code_2(arguments, capsys, change, message):
    assert run([*arguments, *change]) == 2
    assert message in capsys.readouterr().err


def test_a_base_model_is_trained_and_found_by_name(arguments, tiny_warehouse, capsys):
    base = ["train", "base", *arguments[1:5], "--tokens", "500", "--name", "cli-base"]
    assert run(base) == 0
    assert "step 4/4" in capsys.readouterr().err
    assert run(base) == 0
    assert "nothing to do" in capsys.readouterr().err
    arguments[2] = "cli-base"
    assert run([*arguments, "--run", "from-base", "--steps", "1"]) == 0
    (started,) = [
        event
        for event in read_events(tiny_warehouse.run("from-base") / "events.jsonl")
        if event["event"] == "run_started"
    ]
    assert started["config"]["model"] == str(tiny_warehouse.model("cli-base"))


def in_fork(target, *arguments):
    """A child that has everything imported already, which takes seconds from scratch."""
    child = multiprocessing.get_context("fork").Process(target=target, args=arguments)
    child.start()
    return child


def run_rank(rank, port, arguments):
    """What a launcher starts as one of two ranks."""
    ranks = {"RANK": rank, "LOCAL_RANK": rank, "NODE_RANK": 0, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2}
    os.environ.update({name: str(value) for name, value in ranks.items()})
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    sys.exit(run(arguments))


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.fixture
def killed_run(arguments, tiny_warehouse):
    """A run that was killed with SIGKILL inside a step, and the same run unbroken."""
    assert run([*arguments, "--run", "unbroken"]) == 0
    child = in_fork(run, [*arguments, "--run", "killed"])
    checkpoints = tiny_warehouse.run("killed") / "checkpoints"
    deadline = time.monotonic() + 60
    # inside step 2: batches 2, 4, 8 … are saved, and a step has three batches
    while not list(checkpoints.glob("*-ba4.pt")) and child.is_alive() and time.monotonic() < deadline:
        time.sleep(0.005)
    child.kill()
    child.join()
    assert 0 < len(chains(tiny_warehouse, "killed")) < 6, "killed too late or too early to mean something"
    yield "killed"
    for run_id in ("killed", "unbroken"):
        shutil.rmtree(tiny_warehouse.run(run_id))


def assert_equals_the_unbroken_run(warehouse):
    assert chains(warehouse, "killed") == chains(warehouse, "unbroken")
    events = list(read_events(warehouse.run("killed") / "events.jsonl"))
    started = [event for event in events if event["event"] == "run_started"]
    assert [event["world_size"] for event in started] == [1, 2]
    assert started[1]["resumed_from_batch"] > 0
    assert events[-1]["event"] == "run_done"
    # sums of gradients differ in the last bits between one rank and two
    after = summarise(warehouse.run("killed") / "events.jsonl").feedback_TD
    unbroken = summarise(warehouse.run("unbroken") / "events.jsonl").feedback_TD
    assert after == pytest.approx(unbroken, abs=1e-3)


def test_a_killed_run_goes_on_with_two_ranks_and_takes_the_same_samples(killed_run, tiny_warehouse):
    port = free_port()
    ranks = [in_fork(run_rank, rank, port, ["train", "--run", killed_run, "--resume"]) for rank in (0, 1)]
    for rank in ranks:
        rank.join(120)
    assert [rank.exitcode for rank in ranks] == [0, 0]
    assert_equals_the_unbroken_run(tiny_warehouse)


def test_two_ranks_from_the_start_take_the_samples_of_one(arguments, tiny_warehouse):
    assert run([*arguments, "--run", "one-rank"]) == 0
    port = free_port()
    ranks = [in_fork(run_rank, rank, port, [*arguments, "--run", "two-ranks"]) for rank in (0, 1)]
    for rank in ranks:
        rank.join(120)
    assert [rank.exitcode for rank in ranks] == [0, 0]
    assert chains(tiny_warehouse, "two-ranks") == chains(tiny_warehouse, "one-rank")


def test_help_names_every_controller(capsys):
    assert run(["train", "--help"]) == 0
    shown = "".join(capsys.readouterr().out.split())
    missing = [spec for spec in CONTROLLERS if not spec.startswith("agent:") and spec not in shown]
    assert missing == []


def test_guard_and_shadow_are_options_of_a_run(arguments, capsys):
    assert run([*arguments, "--shadow", "odm", "--dry-run"]) == 0
    assert "; odm in shadow" in " ".join(capsys.readouterr().err.split())
    assert run([*arguments, "--guard", "nothing:0.9"]) == 2
    assert "set 'nothing' is not in" in " ".join(capsys.readouterr().err.split())


@pytest.mark.slow
def test_a_killed_run_goes_on_under_composers_launcher(killed_run, tiny_warehouse, tmp_path):
    resumed = subprocess.run(
        [BIN / "composer", "-n", "2", "-c", BIN / "dmix", "train", "--run", killed_run, "--resume"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        cwd=tmp_path,
    )
    assert resumed.returncode == 0, resumed.stderr[-2000:]
    assert_equals_the_unbroken_run(tiny_warehouse)


def test_help_of_train_groups_every_option(capsys):
    assert run(["train", "--help"]) == 0
    said = capsys.readouterr().out
    headings = [said.index(f"\n{heading}:") for heading in (*train_module.SECTIONS, "Commands")]
    assert headings == sorted(headings)
    options = {str(parameter.name) for parameter in train_module.train.params}
    assert {name for names in train_module.SECTIONS.values() for name in names} <= options
    assert "--model" in said and "--help" in said
