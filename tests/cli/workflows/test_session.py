"""Commands and `Session` take the same names and defaults, and come to the same."""

import dataclasses
import inspect
import json

import click
import pytest

import dmix
from dmix.cli.main import dmix as command_line
from dmix.cli.main import run
from dmix.cli.workflows.agents.learn import METHODS as AGENT_METHODS
from dmix.cli.workflows.session import Session

# method: words of its command
METHODS = {
    "classify": ("etl", "classify"),
    "shard": ("etl", "shard"),
    "verify": ("etl", "verify"),
    "gc": ("etl", "gc"),
    "duplicates": ("etl", "duplicates"),
    "contamination": ("etl", "contamination"),
    "distil": ("etl", "distil"),
    "start_state": ("etl", "start-state"),
    "synthesize": ("etl", "synthesize"),
    "rebuild_catalog": ("catalog", "rebuild"),
    "export_catalog": ("catalog", "export"),
    "sample": ("mix", "sample"),
    "collect": ("mix", "collect"),
    "probe": ("mix", "probe"),
    "plan": ("mix", "plan"),
    "train": ("train",),
    "train_base": ("train", "base"),
    "evaluate_agent": ("agent", "evaluate"),
    "evaluate": ("eval",),
    "report": ("report",),
    "sql": ("sql",),
    "doctor": ("doctor",),
    "init": ("init",),
    "quickstart": ("quickstart",),
    "bench_quality": ("bench", "quality"),
    "bench_regmix": ("bench", "regmix"),
}
# lists whose settings class has a default that is not empty
FILLED_LISTS = {"text_column"}
# of the command line alone: a method has a session, returns a result and is called by a program
COMMAND_LINE = {"warehouse", "config", "json", "help"}


def command_of(words):
    command = command_line
    for word in words:
        command = command.get_command(click.Context(command), word)
    return command


def flags_of(command):
    """Default of each flag as a method spells it; `EMPTY` where the flag must be given."""
    flags = {}
    for option in command.params:
        if not option.hidden if isinstance(option, click.Option) else True:
            name = option.opts[0].lstrip("-").replace("-", "_")
            default = None if str(option.default) == "Sentinel.UNSET" else option.default
            if option.required:
                default = inspect.Parameter.empty
            elif option.nargs == -1 or getattr(option, "multiple", False):
                default = default or (None if name in FILLED_LISTS else ())
            elif getattr(option, "is_flag", False):
                default = bool(default) if default is not None else None
            flags[name] = default
    return {name: value for name, value in flags.items() if name not in COMMAND_LINE}


def test_every_method_is_compared():
    public = {name for name, _ in inspect.getmembers(Session, inspect.isfunction) if name[0] != "_"}
    assert public == {*METHODS, "train_agent"}


@pytest.mark.parametrize("name", METHODS)
def test_method_and_command_take_the_same_names_and_defaults(name):
    method = inspect.signature(getattr(Session, name)).parameters
    taken = {p.name.rstrip("_"): p.default for p in method.values() if p.name != "self"}
    flags = flags_of(command_of(METHODS[name]))
    if name == "sql":
        del flags["format"]  # of what the command prints
    assert set(taken) == set(flags)
    for flag, default in flags.items():
        # None on the command line is the default of the settings class, from which both are made
        if default is not None:
            assert taken[flag] == default, flag


@pytest.mark.parametrize("method", AGENT_METHODS)
def test_train_agent_takes_the_names_of_each_command(method):
    own = set(inspect.signature(Session.train_agent).parameters) - {"self", "method", "settings"}
    settings, hidden = AGENT_METHODS[method].settings, AGENT_METHODS[method].hidden
    taken = {name.rstrip("_") for name in own} | {field.name for field in dataclasses.fields(settings)}
    assert taken - hidden - ({"from"} if method != "rl" else set()) == set(
        flags_of(command_of(("agent", method)))
    )


@pytest.fixture
def text(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for field, label in (("source", "News"), ("target", "Games")):
        lines = [{"text": f"{field} {i} " * 30, "label": label} for i in range(6)]
        (tmp_path / f"{field}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


def test_a_session_classifies_and_shards_what_commands_then_find_done(text, capsys):
    session = dmix.open("w")
    found = session.classify(
        source="source.jsonl", target=["target.jsonl"], classifier="column:label", taxonomy="from-data"
    )
    assert [corpus["documents"] for corpus in found.facts] == [6, 6]
    assert "News" in repr(found)
    assert "<td>News</td>" in found._repr_html_()
    assert list(found.df()["domain"]) == ["Games", "News"]
    made = session.shard(seq_len=16, name="small")
    assert made["existed"] is False
    assert made.value.name == "small"
    answer = session.sql("select corpus, documents from corpora order by corpus")
    assert answer.arrow().column_names == ["corpus", "documents"]
    assert answer.df()["documents"].tolist() == [6, 6]
    capsys.readouterr()
    line = ["etl", "shard", "--seq-len", "16", "--name", "small", "--json", "--warehouse", "w"]
    assert run(line) == 0
    assert json.loads(capsys.readouterr().out) == {**made.facts, "existed": True}


@pytest.fixture
def environment(text):
    """An environment file with an item of twenty words for each role."""
    for role in ("general", "target"):
        words = " ".join(f"{role}{i}" for i in range(20))
        item = {"id": role, "question": words, "answer": "yes"}
        (text / f"{role}-items.jsonl").write_text(json.dumps(item) + "\n")
    (text / "environment.yaml").write_text(
        "objectives:\n"
        "- {name: general, role: general, kind: qa, path: general-items.jsonl}\n"
        "- {name: target, role: target, kind: qa, path: target-items.jsonl}\n"
    )
    return text / "environment.yaml"


def test_items_that_were_not_kept_out_of_the_dataset_are_refused(environment, capsys):
    session = dmix.open("w")
    session.classify(
        source="source.jsonl", target="target.jsonl", classifier="column:label", taxonomy="from-data"
    )
    session.shard(seq_len=16, name="open")
    with pytest.raises(dmix.DmixError, match=r"2 of 2 items .*--environment"):
        session.probe(environment=environment, dataset="open")
    session.probe(environment=environment, dataset="open", allow_unscreened=True)
    assert "its text for 2 of 2 items" in capsys.readouterr().err
    made = session.shard(seq_len=16, name="clean", environment=environment)
    assert len(made.value.kept_out) == 2
    session.probe(environment=environment, dataset="clean")
    assert "warning" not in capsys.readouterr().err
    file = environment.parent / "target-items.jsonl"
    file.write_text(file.read_text().replace("target3", "another"))
    with pytest.raises(dmix.DmixError, match="1 of 2 items"):
        session.probe(environment=environment, dataset="clean", name="changed")


def test_a_damaged_file_is_an_error_of_the_result_and_ends_the_command(text, capsys):
    session = dmix.open("w")
    session.classify(
        source="source.jsonl", target="target.jsonl", classifier="column:label", taxonomy="from-data"
    )
    assert session.verify().error is None
    assert session.gc(dry_run=True)["found"] == []
    next((text / "w" / "labels").rglob("*.parquet")).write_bytes(b"no")
    found = session.verify()
    assert isinstance(found.error, dmix.DmixError)
    assert list(found.df()["problem"]) == [problem["kind"] for problem in found["problems"]] != []
    assert run(["etl", "verify", "--warehouse", "w"]) == found.error.exit_code == 4


def test_a_wrong_setting_is_refused_with_the_nearest_one(text):
    session = dmix.open("w")
    with pytest.raises(TypeError, match="seqlen"):
        session.shard(seqlen=16)
    with pytest.raises(dmix.DmixError, match="shard\\(\\): seq_len is 'long'"):
        session.shard(seq_len="long")


def test_settings_are_in_signature_and_help():
    assert inspect.signature(Session.shard).parameters["seq_len"].default > 0
    assert "seq_len:" in Session.shard.__doc__


def test_help_of_a_method_has_the_flags_of_its_command():
    text = Session.sample.__doc__
    assert "dmix mix sample" in text
    assert "    set: Name of the set." in text
    assert "progress" not in text.partition("Args:")[2]


@pytest.mark.parametrize(
    ("arguments", "facts"),
    [
        ({}, ("plan()", "out")),
        ({"out": "m.yaml", "sampels": 3}, ("plan()", "'sampels'", "did you mean 'samples'")),
    ],
)
def test_a_wrong_call_names_method_and_argument(tmp_path, arguments, facts):
    with pytest.raises(TypeError) as caught:
        dmix.open(tmp_path).plan(**arguments)
    assert all(fact in str(caught.value) for fact in facts)
