"""The command that repeats a run, and names that no run has."""

import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest

from dmix.training.report.queries.again import free_name, like

ROOT = Path("/data/my warehouse")
CONFIG = {
    "model": str(ROOT / "models" / "base"),
    "environment": {"objectives": []},
    "steps": 3,
    "exhaustion": "repeat",
    "seed": 7,
}


def flags(command):
    """The values of each flag of a command."""
    program, verb, *words = shlex.split(command)
    assert (program, verb) == ("dmix", "train")
    found = {}
    for word in words:
        if word.startswith("--"):
            found[word] = []
            last = word
        else:
            found[last].append(word)
    return {name: values[0] if values else True for name, values in found.items()}


def run(controller="natural", **config):
    return SimpleNamespace(run_id="r1", dataset="d", controller=controller, config={**CONFIG, **config})


def test_a_command_repeats_data_model_sizes_and_steering():
    found = flags(like(run(), warehouse=ROOT, name="r2"))
    file = str(ROOT / "runs" / "r1" / "config.yaml")
    assert found == {
        "--warehouse": str(ROOT),
        "--dataset": "d",
        "--model": "base",
        "--environment": file,
        "--training": file,
        "--steps": "3",
        "--exhaustion": "repeat",
        "--controller": "natural",
        "--seed": "7",
        "--run": "r2",
    }


@pytest.mark.parametrize(
    ("controller", "config", "expected"),
    [
        ("agent:mine", {}, {"--agent": "mine", "--guard": "off"}),
        ("agent:mine", {"guard": "farm"}, {"--agent": "mine", "--guard": "farm"}),
        ("natural", {"shadow": "odm"}, {"--controller": "natural", "--shadow": "odm"}),
        ("natural", {"allow_other_tokenizer": True}, {"--allow-other-tokenizer": True}),
        ("natural", {"model": "org/name"}, {"--model": "org/name"}),
    ],
)
def test_what_steered_and_what_was_allowed_come_along(controller, config, expected):
    assert expected.items() <= flags(like(run(controller, **config), warehouse=ROOT, name="n")).items()


def test_another_controller_and_seed_take_the_place_of_those_of_the_run():
    found = flags(like(run("agent:mine"), warehouse=ROOT, name="n", controller="naive", seed=0))
    assert (found["--controller"], found["--seed"]) == ("naive", "0") and "--agent" not in found


def test_what_a_run_lacks_is_no_flag():
    bare = SimpleNamespace(run_id="r", dataset="d", controller="natural", config={})
    found = flags(like(bare, warehouse=ROOT, name="n"))
    assert not {"--environment", "--steps", "--seed", "--guard"} & set(found)


def test_a_taken_name_gets_the_first_free_number():
    assert free_name("a", []) == "a"
    assert free_name("a", ["a"]) == "a-2"
    assert free_name("a", ["a", "a-2", "b"]) == "a-3"
