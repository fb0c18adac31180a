"""A command whose job another process does is refused at once, before it imports or writes anything."""

import pytest

from dmix.cli.main import run
from dmix.warehouse_schema.files.locks import held_lock


@pytest.fixture
def commands(warehouse_with_set, environment_file, tmp_path, monkeypatch):
    """The lock of a job, and a command that would begin it again with other flags, by name."""
    warehouse = warehouse_with_set("farm", paths=2)
    monkeypatch.setenv("DMIX_WAREHOUSE", str(warehouse.root))
    text = tmp_path / "text.jsonl"
    text.write_text('{"text": "some words", "label": "A"}\n')
    of_set = ["--set", "farm"]
    found = {
        "train": (warehouse.run("r") / ".lock", ["train", "--run", "r", "--model", "absent", "--seed", "9"]),
        "resume": (warehouse.run("r") / ".lock", ["train", "--run", "r", "--resume", "--steps", "99"]),
        "collect": (
            warehouse.lock_of("farm", "farm"),
            ["mix", "collect", *of_set, "--environment", str(environment_file), "--stack", "2"],
        ),
        "sft": (warehouse.lock_of("agent", "a"), ["agent", "sft", *of_set, "--agent", "a", "--epochs", "9"]),
        "rl": (warehouse.lock_of("agent", "a"), ["agent", "rl", *of_set, "--agent", "a", "--overwrite"]),
        "classify": (
            warehouse.lock_of("corpus", "main-source"),
            [
                *("etl", "classify", "--source", str(text), "--classifier", "column:label"),
                *("--data-url", "s3://nowhere/at-all"),
            ],
        ),
    }
    return warehouse, found


def test_a_second_start_is_refused_at_once_and_changes_nothing(commands, capsys):
    warehouse, found = commands
    for name, (lock, command) in found.items():
        with held_lock(lock, what="it"):
            before = {path: path.read_bytes() for path in warehouse.root.rglob("*") if path.is_file()}
            code, said = run(command), capsys.readouterr().err
            assert code == 3 and "is locked by process" in said, (name, said)
            assert "waited" not in said, name  # it did, for 10 or 15 s
            after = {path: path.read_bytes() for path in warehouse.root.rglob("*") if path.is_file()}
            assert after == before, name
