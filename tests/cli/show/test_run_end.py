import dataclasses
import shlex
from pathlib import Path

from tests.training.report.fixtures import add_judged, add_run, warehouse_with_data

from dmix.cli.commands.eval import evaluate
from dmix.cli.commands.report import report
from dmix.cli.commands.train import train
from dmix.cli.show.output import Coloured
from dmix.cli.show.run_end import STYLES, aftermath, model_lines
from dmix.training.evaluation.verdicts import ON_SEEN_ITEMS, Verdict
from dmix.training.model.settings import TrainingSettings
from dmix.training.report.queries import series
from dmix.training.run.config import RunConfig, config_to_yaml
from dmix.warehouse_schema.catalog.sync import sync


def test_a_run_is_judged_and_held_against_natural_mixing(tmp_path):
    place = warehouse_with_data(tmp_path)
    add_run(place, "one")
    add_run(place, "natural-0", controller="natural", kind="baseline", gain=0.01)
    (place.run("one") / "model").mkdir()
    sync(place)
    found = aftermath(place, "one", kind="guided")
    # 0.4 over a scale of 0.25, -0.04 over one of 0.5
    assert (str(found.word("maths")), str(found.word("general"))) == ("learned much", "unchanged")
    assert found.word("maths").style == "bold green" and found.word("other") == ""
    # (1.6 - 0.08) / 2 against (0.16 - 0.08) / 2
    line = "difference from natural mixing (natural-0) on the items that the controller read: "
    assert f"{line}U +0.72, general +0.00, maths +0.36" in found.lines
    (rule,) = [line for line in found.lines if line.startswith("Unchanged: ")]
    assert "scale" in rule
    assert any(line.startswith(ON_SEEN_ITEMS) for line in found.lines)
    add_judged(place, "one")
    add_judged(place, "natural-0", maths=(0.0, 0.0, 0.0))
    lines = aftermath(place, "one", kind="guided").lines
    assert not any(line.startswith(ON_SEEN_ITEMS) for line in lines)
    assert any("same seed) on the same items: general +0.000" in line for line in lines)
    judged = next(line for line in lines if "no controller saw" in line)
    assert "maths +0.200 ± 0.058 (learned)" in judged and "general +0.000 ± 0.000 (unchanged" in judged
    pasted = shlex.split(found.lines[-1].removeprefix("to compare these runs: "))
    assert pasted == ["dmix", "report", "--warehouse", str(place.root), "--run", "one", "--run", "natural-0"]


def test_a_run_without_a_natural_one_says_how_to_get_it(tmp_path):
    place = warehouse_with_data(tmp_path)
    add_run(place, "one")
    sync(place)
    found = aftermath(place, "one", kind="guided")
    assert "--controller natural --run one-natural" in found.lines[-1]
    assert not any(line.startswith("model: ") for line in found.lines)
    assert aftermath(place, "one", kind="base").lines == ()


def test_the_natural_run_that_is_missing_is_a_command_with_the_settings_of_this_one(tmp_path):
    (tmp_path / "a folder").mkdir()
    place = warehouse_with_data(tmp_path / "a folder")
    add_run(place, "one")
    config = RunConfig(
        run_id="one", kind="guided", dataset="d0", model=str(tmp_path / "my model"), controller="agent:a",
        environment={"objectives": []}, steps=4, step_samples=16, batch_size=8, exhaustion="repeat",
        max_passes=9, seed=3, training=TrainingSettings(),
    )  # fmt: skip
    file = place.run("one") / "config.yaml"
    file.write_text(config_to_yaml(config, place))
    sync(place)
    pasted = shlex.split(aftermath(place, "one", kind="guided").lines[-1].partition("To train one: ")[2])
    assert pasted[:2] == ["dmix", "train"]
    given = train.make_context("train", pasted[2:]).params
    assert (given["controller"], given["run_id"], given["dataset"]) == ("natural", "one-natural", "d0")
    assert given["model"] == str(tmp_path / "my model") and given["environment"] == given["training"] == file
    assert [given[name] for name in ("steps", "samples_per_step", "batch_size")] == [4, "16", 8]
    assert (given["exhaustion"], given["max_passes"], given["seed"]) == ("repeat", 9, 3)


def pasted(lines, start):
    """The words of the command of a line."""
    (line,) = [line for line in lines if line.startswith(start)]
    return shlex.split(line.rpartition(": ")[2])


def parameters(words, command):
    context = command.make_context(command.name, words)
    return context.params


def test_a_natural_run_says_how_to_compare_it(tmp_path):
    place = warehouse_with_data(tmp_path)
    add_run(place, "natural-0", controller="natural", kind="baseline")
    sync(place)
    alone = pasted(aftermath(place, "natural-0", kind="baseline").lines, "there is no other run")
    assert parameters(alone[2:], report)["runs"] == ("natural-0",)
    add_run(place, "one")
    sync(place)
    found = pasted(aftermath(place, "natural-0", kind="baseline").lines, "to compare these runs")
    assert parameters(found[2:], report)["runs"] == ("natural-0", "one")


def test_a_run_whose_judging_items_are_known_ends_with_the_command_that_judges_it(tmp_path, monkeypatch):
    place = warehouse_with_data(tmp_path)
    add_run(place, "one")
    sync(place)
    folder = tmp_path / "a folder"
    folder.mkdir()
    read = series.environment_of
    monkeypatch.setattr(
        series, "environment_of", lambda config: dataclasses.replace(read(config), folder=str(folder))
    )
    lines = aftermath(place, "one", kind="guided").lines
    assert f"{ON_SEEN_ITEMS} 'dmix eval' scores the run on other items" in lines
    (folder / "judging.yaml").write_text("")
    words = pasted(aftermath(place, "one", kind="guided").lines, ON_SEEN_ITEMS)
    assert words[:2] == ["dmix", "eval"]
    given = parameters(words[2:], evaluate)
    assert (given["run_id"], given["environment"]) == ("one", folder / "judging.yaml")


def test_the_load_command_can_be_pasted():
    command = model_lines(Path("/a folder/it's/model"))[1].removeprefix("to load the model: ")
    words = shlex.split(command)
    assert words[:2] == ["python", "-c"]
    compile(words[2], "pasted", "exec")


def test_every_verdict_has_a_style():
    assert {Verdict(grade, "", 0.0).colour for grade in range(-3, 4)} == set(STYLES)


def test_a_coloured_word_is_its_text():
    assert Coloured("better", "green") == "better" and Coloured("better", "green").style == "green"
