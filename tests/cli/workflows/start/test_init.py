"""A folder of text becomes the files of a first run, sized for the machine."""

import json
import shlex
import struct
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from setuptools import Distribution

from dmix.cli.main import dmix, run
from dmix.cli.workflows.start.held_out import ITEMS
from dmix.cli.workflows.start.init import init_project
from dmix.etl.templates.settings import TextSettings
from dmix.mixing.trajectories.objectives import check_items, load_environment, read_items
from dmix.training.model.settings import load_proxy, load_training
from dmix.warehouse_schema.errors import InputError, NotFoundError

ROOT = Path(__file__).parents[4]


def write_field(folder, *, documents, words=60):
    folder.mkdir(parents=True)
    lines = [
        json.dumps({"id": f"{folder.name}{i}", "text": f"{folder.name} {i} " + f"word{i} " * words})
        for i in range(documents)
    ]
    (folder / "text.jsonl").write_text("\n".join(lines) + "\n")


def prepared(data, out, **values):
    return init_project(data=data, out=out, progress=lambda line: None, **values).value


@pytest.fixture
def text(tmp_path):
    """A folder of two fields with enough documents to hold some out."""
    for field in ("source", "target"):
        write_field(tmp_path / "text" / field, documents=4_000)
    return tmp_path / "text"


def items_of(file):
    environment = load_environment(file)
    return {
        objective.name: {
            item.item_id for item in read_items(replace(objective, limit=None), environment.folder)
        }
        for objective in environment.objectives
    }


def test_feedback_and_judging_items_are_of_different_documents(text, tmp_path):
    result = prepared(text, tmp_path / "out", hours=0.01)
    feedback, judging = items_of(tmp_path / "out/environment.yaml"), items_of(tmp_path / "out/judging.yaml")
    check_items(load_environment(tmp_path / "out/judging.yaml"))
    for name in ("source_text", "target_text"):
        assert 30 <= len(feedback[name]) <= ITEMS
        assert not feedback[name] & judging[name]
    assert not (tmp_path / "out/data").exists()
    assert result.fields["source"].feedback == len(feedback["source_text"])


def test_files_are_what_the_commands_read(text, tmp_path):
    out = tmp_path / "out"
    prepared(text, out, hours=0.01)
    assert load_training(out / "training.yaml").learning_rate == 2e-3
    assert load_training(out / "base-training.yaml").learning_rate == 4e-3
    assert load_proxy(out / "proxy.yaml").init == "scratch"
    assert (out / "run.sh").stat().st_mode & 0o100


def test_every_command_of_the_script_is_one_that_dmix_has(text, tmp_path):
    prepared(text, tmp_path / "out", hours=0.01)
    lines = (tmp_path / "out/run.sh").read_text().replace("\\\n", "").splitlines()
    commands = [shlex.split(line)[1:] for line in lines if line.strip().startswith("dmix ")]
    assert len(commands) == 8  # those for a run are in a function
    for words in commands:
        context, group = None, dmix
        while hasattr(group, "get_command") and words and not words[0].startswith("-"):
            group = group.get_command(context, words[0])
            assert group is not None, words
            words = words[1:]
        known = {option for parameter in group.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known


def test_few_long_documents_are_copied_without_their_ends(tmp_path):
    for field in ("source", "target"):
        write_field(tmp_path / "text" / field, documents=20, words=20_000)
    result = prepared(tmp_path / "text", tmp_path / "out", hours=0.01)
    assert result.fields["target"].copied
    assert result.fields["target"].inputs == ("data/target",)
    assert (tmp_path / "out/data/target/documents.jsonl").is_file()


@pytest.mark.parametrize(("documents", "warned"), [(10, True), (4_000, False)])
def test_items_that_are_too_few_to_judge_a_run_are_warned_of(tmp_path, capsys, documents, warned):
    for field in ("source", "target"):
        write_field(tmp_path / "text" / field, documents=documents, words=400)
    assert run(["init", "--data", str(tmp_path / "text"), str(tmp_path / "out")]) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if "show only large changes" in line]
    assert len(lines) == warned
    assert all("of the source" in line and "of the target" in line for line in lines)


def test_dry_run_writes_nothing(text, tmp_path):
    result = prepared(text, tmp_path / "out", dry_run=True)
    assert "run.sh" in result.files
    assert not (tmp_path / "out").exists()


def test_second_call_and_missing_folders_are_refused(text, tmp_path):
    prepared(text, tmp_path / "out", hours=0.01)
    with pytest.raises(InputError, match=r"environment\.yaml.*--update --dry-run"):
        prepared(text, tmp_path / "out")
    with pytest.raises(InputError, match="leave out --update"):
        prepared(text, tmp_path / "other", update=True)
    assert run(["init", str(tmp_path / "other")]) == 2  # without --data
    with pytest.raises(NotFoundError):
        prepared(tmp_path / "nothing", tmp_path / "other")
    with pytest.raises(InputError, match="hours"):
        prepared(text, tmp_path / "other", hours=0)
    assert run(["init", "--data", str(tmp_path), str(tmp_path / "other")]) == 2


def test_an_update_changes_files_that_nobody_edited_and_leaves_earlier_runs(
    text, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("dmix.training.model.estimate.speed.training_speed", lambda operations, bf16: 1e4)
    out, other = tmp_path / "out", tmp_path / "checkpoint"
    prepared(text, out, hours=0.01)
    other.mkdir()
    (other / "config.json").write_text("{}")
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    update = ["init", "--update", str(out)]
    assert run(update) == 0 and "nothing changes" in capsys.readouterr().err
    assert all(path.read_bytes() == content for path, content in before.items())
    edited = (out / "training.yaml").read_text() + "weight_decay: 0.2\n"
    (out / "training.yaml").write_text(edited)
    (out / "warehouse" / "streams" / "a").mkdir(parents=True)
    (out / "warehouse" / "streams" / "a" / "manifest.json").write_text("{}")
    asked = [*update, "--model", str(other), "--steps", "8"]
    assert run([*asked, "--dry-run"]) == 0
    said = capsys.readouterr().err
    assert "training.yaml: stays, since it may have your edits" in said and "run.sh: changes" in said
    assert f"+dmix etl shard --tokenizer {other}" in said and "+export DMIX_WAREHOUSE=warehouse-2" in said
    assert not (out / "training.yaml.new").exists()
    assert all(
        path.read_bytes() == content for path, content in before.items() if "training" not in path.name
    )
    assert run(asked) == 0
    assert (out / "training.yaml").read_text() == edited
    assert load_training(out / "training.yaml.new").learning_rate == 2e-5
    script = (out / "run.sh").read_text()
    assert "--steps 8" in script and "report-2.html" in script and (out / "run.sh").stat().st_mode & 0o100
    capsys.readouterr()
    assert run(update) == 0  # the flags that were given stay
    assert "nothing changes" in capsys.readouterr().err and (out / "run.sh").read_text() == script


def test_a_file_that_is_in_the_folder_already_stays_and_is_named(text, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "training.yaml").write_text("batch_size: 4\n")
    assert run(["init", "--data", str(text), str(tmp_path / "out")]) == 0
    assert "training.yaml: stays, since it may have your edits" in capsys.readouterr().err
    assert (tmp_path / "out" / "training.yaml").read_text() == "batch_size: 4\n"


def test_an_update_of_other_text_is_refused(text, tmp_path):
    prepared(text, tmp_path / "out", hours=0.01)
    lines = (text / "target" / "text.jsonl").read_text().splitlines()
    (text / "target" / "text.jsonl").write_text("\n".join(lines[2000:]) + "\n")
    with pytest.raises(InputError, match=r"items/target\.jsonl would differ.*another folder"):
        prepared(None, tmp_path / "out", update=True)


def test_a_checkpoint_gives_tokenizer_and_rate(text, tmp_path):
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"max_position_embeddings": 128}))
    header = json.dumps({"a": {"dtype": "F32", "shape": [100, 7], "data_offsets": [0, 0]}}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    result = prepared(text, tmp_path / "out", model=str(folder), hours=0.01)
    assert (result.parameters, result.sizes.seq_len) == (700, 128)
    assert load_training(tmp_path / "out/training.yaml").learning_rate == 2e-5
    assert f"--tokenizer {folder}" in (tmp_path / "out/run.sh").read_text()
    (folder / "model.safetensors").write_bytes(b"short")
    with pytest.raises(InputError, match="safetensors"):
        prepared(text, tmp_path / "other", model=str(folder), hours=0.01)


@pytest.mark.parametrize("fast", [True, False])
def test_a_checkpoint_trains_in_bf16_where_the_processor_is_fast(text, tmp_path, capsys, monkeypatch, fast):
    asked = []
    names = ("AVX512-BF16", "AMX") if fast else ()
    monkeypatch.setattr("dmix.training.model.estimate.processor.bf16_instructions", lambda: names)
    monkeypatch.setattr("dmix.warehouse_schema.gpus.has_gpu", lambda: False)
    monkeypatch.setattr(
        "dmix.training.model.estimate.speed.training_speed",
        lambda _, bf16: asked.append(bf16) or 1e4,
    )
    (tmp_path / "config.json").write_text("{}")
    header = json.dumps({"a": {"dtype": "F32", "shape": [100, 7], "data_offsets": [0, 2800]}}).encode()
    tensor = struct.pack("<Q", len(header)) + header + bytes(2800)
    (tmp_path / "model.safetensors").write_bytes(tensor)
    command = ["init", "--data", str(text), "--hours", "0.01", "--model", str(tmp_path)]
    assert run([*command, str(tmp_path / "out")]) == 0
    assert asked == [fast]
    assert load_training(tmp_path / "out/training.yaml").precision == ("bf16" if fast else "auto")
    # a processor that emulates bf16 is offered none, in no comment either
    written = (tmp_path / "out/training.yaml").read_text()
    assert ("bf16" in written) == ("AVX512-BF16 and AMX" in written) == fast
    assert ("sets precision: bf16" in capsys.readouterr().err) == fast


def test_a_model_that_may_be_a_mistyped_path_is_warned_of(text, tmp_path, capsys):
    assert run(["init", "--data", str(text), "--model", "nowhere/ckpt", str(tmp_path / "out")]) == 0
    assert "warning: there is no folder nowhere/ckpt here" in capsys.readouterr().err


def test_the_limit_is_written_with_its_price_and_said(text, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("dmix.training.model.estimate.speed.training_speed", lambda operations, bf16: 20.0)
    assert run(["init", "--data", str(text), "--hours", "0.5", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().err
    feedback = load_environment(tmp_path / "out/environment.yaml").objectives
    (limit,) = {objective.limit for objective in feedback}
    assert limit is not None and f"dmix scores {limit} of the items" in said and "limit: 10" not in said
    lines = (tmp_path / "out/environment.yaml").read_text().splitlines()
    written = " ".join(line.strip("# ") for line in lines)
    assert "standard errors are about" in written
    assert "run 'dmix mix probe' and 'dmix mix plan' again" in written
    judging = load_environment(tmp_path / "out/judging.yaml").objectives
    assert {objective.limit for objective in judging} == {None}


def test_records_that_are_not_read_are_named_and_listed(tmp_path, capsys):
    for field in ("source", "target"):
        write_field(tmp_path / "text" / field, documents=20, words=2_000)
    odd = tmp_path / "text" / "source" / "odd.jsonl"
    odd.write_text('{"body": "a text under another name"}\n' * 3)
    (tmp_path / "text" / "source" / "latin.txt").write_bytes("caf\xe9 ".encode("latin-1") * 50)
    (tmp_path / "text" / "source" / "notes.docx").write_bytes(b"PK")
    arguments = ["init", "--data", str(tmp_path / "text"), "--hours", "0.01", str(tmp_path / "out")]
    said = []
    for more in (["--dry-run"], []):
        assert run([*arguments, *more]) == 0
        said.append([line for line in capsys.readouterr().err.splitlines() if line.startswith("source")])
    assert said[0] == said[1]
    (missing,) = [line for line in said[1] if "missing_text" in line]
    assert "3 records" in missing and "record 1 of odd.jsonl" in missing and "body" in missing
    assert "--template first:text,body" in missing
    assert any("invalid_utf8" in line and "iconv" in line for line in said[1])
    assert any("1 .docx" in line for line in said[1])
    listed = (tmp_path / "out" / "data" / "source" / "not-read.jsonl").read_text().splitlines()
    assert [(row["path"], row["position"], row["reason"]) for row in map(_reject, listed)] == [
        ("latin.txt", 1, "invalid_utf8"),
        *(("odd.jsonl", position, "missing_text") for position in (1, 2, 3)),
    ]
    # the corpus of the copy has them as rejects of the user's files, and its documents, too
    at = ["--warehouse", str(tmp_path / "out" / "warehouse")]
    copies = [f"--{field}={tmp_path / 'out' / 'data' / field}" for field in ("source", "target")]
    assert run(["etl", "classify", *at, *copies]) == 0
    assert "template" not in capsys.readouterr().err
    assert run(["sql", *at, "--json", "SELECT rejected FROM corpora ORDER BY corpus"]) == 0
    assert [row["rejected"] for row in json.loads(capsys.readouterr().out)] == [4, 0]
    assert run(["sql", *at, "--json", "SELECT path, position FROM rejects ORDER BY ALL"]) == 0
    assert json.loads(capsys.readouterr().out)[-1] == {"path": "odd.jsonl", "position": 3}
    labels = (tmp_path / "out" / "warehouse" / "labels" / "main-source").glob("parts/*/*.parquet")
    assert {path for file in labels for path in pq.read_table(file)["path"].to_pylist()} == {"text.jsonl"}


def _reject(line):
    return json.loads(line)["dmix_reject"]


def test_records_with_text_in_other_columns_are_proposed_and_then_read(tmp_path, capsys):
    for field in ("source", "target"):
        write_field(tmp_path / "text" / field, documents=20, words=2_000)
    for field, column in (("source", "body"), ("target", "content")):
        lines = [json.dumps({"id": str(i), column: f"{field} {i} " * 40}) for i in range(5)]
        (tmp_path / "text" / field / "odd.jsonl").write_text("\n".join(lines))
    arguments = ["init", "--data", str(tmp_path / "text"), "--hours", "0.01"]
    assert run([*arguments, str(tmp_path / "out")]) == 0
    flag = "--template first:text,body,content"
    assert flag in capsys.readouterr().err
    assert flag in (tmp_path / "out" / "run.sh").read_text()
    assert run([*arguments, *flag.split(), str(tmp_path / "again")]) == 0
    assert "not read" not in capsys.readouterr().err
    assert flag not in (tmp_path / "again" / "run.sh").read_text()


def test_a_field_without_its_text_column_is_refused_with_the_flag(tmp_path):
    for field, column in (("source", "body"), ("target", "text")):
        lines = [json.dumps({column: f"{field} {i} " * 40}) for i in range(200)]
        (tmp_path / "text" / field).mkdir(parents=True)
        (tmp_path / "text" / field / "a.jsonl").write_text("\n".join(lines))
    with pytest.raises(InputError, match=r"200 records .* a\.jsonl.*'text'.*--text-column body"):
        prepared(tmp_path / "text", tmp_path / "out", hours=0.01)


def test_every_set_of_columns_is_named_and_sizes_count_text_that_was_read(tmp_path, capsys):
    for field in ("source", "target"):
        write_field(tmp_path / "text" / field, documents=400, words=200)
    before = prepared(tmp_path / "text", tmp_path / "out", hours=0.01, dry_run=True).fields["source"]
    odd = tmp_path / "text" / "source" / "odd.jsonl"
    odd.write_text('{"body": "' + "b" * 10_000 + '"}\n' * 1 + '{"abstract": "a text"}\n' * 3)
    after = prepared(tmp_path / "text", tmp_path / "out", hours=0.01, dry_run=True).fields["source"]
    assert 0.9 < after.size_bytes / before.size_bytes <= 1
    assert [line.split()[0] for line in after.not_read] == ["3", "1"]
    assert "abstract" in after.not_read[0] and "body" in after.not_read[1]
    assert 0 < before.whole < before.feedback + before.judging
    assert run(["init", "--data", str(tmp_path / "text"), "--dry-run", str(tmp_path / "out")]) == 0
    assert f"{before.whole} whole documents became items" in capsys.readouterr().err


def test_files_name_examples_that_are_there_and_in_a_wheel(text, tmp_path, monkeypatch):
    prepared(text, tmp_path / "out", hours=0.01)
    for name in ("environment", "training"):
        written = (tmp_path / "out" / f"{name}.yaml").read_text()
        [example] = [word for word in written.split() if word.endswith(f"examples/{name}.yaml")]
        assert Path(example).is_file()
    monkeypatch.chdir(ROOT)
    distribution = Distribution()
    distribution.parse_config_files(["setup.cfg"])
    build = distribution.get_command_obj("build_py")
    build.ensure_finalized()
    packed = {name for package, _, _, names in build.data_files if package == "dmix" for name in names}
    assert {f"examples/{name}.yaml" for name in ("environment", "model", "proxy", "training")} <= packed


def test_chats_are_read_by_the_template_that_run_sh_repeats(tmp_path):
    """A field that is copied is plain text then; the other one still needs the template."""
    for field, count in (("source", 4_000), ("target", 60)):
        words = " ".join(f"{field}{i}" for i in range(200))
        lines = [{"prompt": f"{words} {i}?", "response": "yes"} for i in range(count)]
        (tmp_path / "text" / field).mkdir(parents=True)
        (tmp_path / "text" / field / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    result = prepared(
        tmp_path / "text", tmp_path / "out", hours=0.01, settings=TextSettings(template="instruction")
    )
    assert [text.copied for text in result.fields.values()] == [False, True]
    commands = (tmp_path / "out" / "run.sh").read_text().splitlines()
    classify = [shlex.split(line) for line in commands if line.startswith("dmix etl classify")]
    assert [words[3::2] for words in classify] == [["--source", "--template"], ["--target"]]
    item = json.loads((tmp_path / "out" / "items" / "target.jsonl").read_text().splitlines()[0])
    assert "target" in item["text"] and set(item) == {"id", "text"}
