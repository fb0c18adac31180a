"""Generations: budgets, ranges, kills, and what is refused."""

import dataclasses
import functools
import importlib.machinery
import shutil
import subprocess
import sys
import types
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from dmix.etl.quality.settings import QualitySettings
from dmix.etl.spark.tasks import run_tasks
from dmix.etl.synthetic.blocks import block_facts, block_name, finished_blocks, read_blocks
from dmix.etl.synthetic.generation_settings import GenerationSettings
from dmix.etl.synthetic.generation_tasks import write_generated_block
from dmix.etl.synthetic.synthesize import SUMMARY, local_processes, plan_synthesis, run_here, synthesize
from dmix.warehouse_schema.errors import InputError, MissingDependencyError
from dmix.warehouse_schema.settings import read_yaml

SETTINGS = GenerationSettings(seed=3, block_documents=8, max_tokens=20)
ALL = QualitySettings(quality="none")
ROOT = Path(__file__).parents[3]


def written(model, out, *, settings=SETTINGS, quality=ALL, run=run_here, **size):
    plan = plan_synthesis(str(model), out=out, settings=settings, quality=quality, **size)
    return synthesize(plan, run=run, progress=lambda line: None, bandwidth=lambda: 1e10)


def files(folder):
    return {path.name: path.read_bytes() for path in folder.glob("block-*.parquet")}


def killed_after(count):
    """Runs tasks here and stops for good before the one with this number."""
    left = [count]

    def run(task, items):
        done = []
        for item in items:
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1 if task.func is write_generated_block else 0
            done.append(task(item))
        return done

    return run


def test_a_budget_is_the_shortest_run_of_blocks_with_enough_tokens(writer, tmp_path):
    result = written(writer, tmp_path / "out", tokens=400)
    numbers = finished_blocks(tmp_path / "out")
    tokens = [block_facts(tmp_path / "out" / block_name(n)).tokens for n in numbers]
    assert numbers == list(range(len(numbers)))
    assert sum(tokens[:-1]) < 400 <= sum(tokens) == result.facts.tokens
    assert result.facts.generated == 8 * len(numbers)
    assert not (tmp_path / "out" / ".blocks").exists()


def test_disjoint_ranges_are_together_what_one_call_writes(writer, tmp_path):
    written(writer, tmp_path / "whole", documents=(0, 32))
    written(writer, tmp_path / "first", documents=(0, 16))
    written(writer, tmp_path / "second", documents=(16, 32))
    parts = files(tmp_path / "first") | files(tmp_path / "second")
    assert parts == files(tmp_path / "whole")
    assert len(parts) == 4
    budget = written(writer, tmp_path / "budget", tokens=150)
    assert files(tmp_path / "budget").items() <= parts.items()
    assert budget.blocks > 1


def test_files_do_not_say_where_a_machine_keeps_the_model(writer, tmp_path, monkeypatch):
    written(writer, tmp_path / "here", documents=(0, 16))
    shutil.copytree(writer, tmp_path / "elsewhere" / writer.name)
    monkeypatch.chdir(tmp_path / "elsewhere")
    written(writer.name, tmp_path / "there", documents=(0, 16))
    assert files(tmp_path / "there") == files(tmp_path / "here")


@pytest.mark.parametrize("size", [{"tokens": 400}, {"documents": (0, 40)}], ids=["budget", "range"])
def test_a_killed_call_goes_on_and_leaves_what_an_unbroken_one_leaves(writer, tmp_path, size):
    unbroken = written(writer, tmp_path / "unbroken", **size)
    for count in (0, 2, 1):
        with pytest.raises(KeyboardInterrupt):
            written(writer, tmp_path / "killed", run=killed_after(count), **size)
    result = written(writer, tmp_path / "killed", **size)
    assert files(tmp_path / "killed") == files(tmp_path / "unbroken")
    assert result.facts == unbroken.facts
    assert 0 < result.made < unbroken.made


def test_a_finished_call_writes_nothing_and_says_so(writer, tmp_path):
    first = written(writer, tmp_path / "out", documents=(0, 16))
    again = written(writer, tmp_path / "out", documents=(0, 16))
    assert (first.made, again.made) == (2, 0)
    assert first.speed is not None
    assert again.speed is None
    assert again.facts == first.facts


@pytest.mark.parametrize("size", [{"tokens": 400}, {"documents": (0, 40)}], ids=["budget", "range"])
def test_blocks_that_workers_wrote_on_other_disks_are_missed(writer, tmp_path, size):
    def run_elsewhere(task, items):
        elsewhere = dataclasses.replace(task.keywords["job"], folder=tmp_path / "other-machine")
        return [task.func(item, job=elsewhere) for item in items]

    with pytest.raises(InputError, match="give a folder that all machines share"):
        written(writer, tmp_path / "out", run=run_elsewhere, **size)


@pytest.mark.slow
def test_spark_writes_the_same_as_one_process(spark, writer, tmp_path):
    written(writer, tmp_path / "here", documents=(0, 24))
    written(writer, tmp_path / "spark", documents=(0, 24), run=functools.partial(run_tasks, spark))
    assert files(tmp_path / "spark") == files(tmp_path / "here")


def test_one_machine_writes_without_pyspark(writer):
    code = (
        "import sys\nfrom pathlib import Path\n"
        "sys.modules['pyspark'] = None\n"
        "from benchmarks.generation import measured\n"
        "print(measured(Path(sys.argv[1]), tokens=20, documents=8, bandwidth=1e10)['written'])"
    )
    assert int(subprocess.check_output([sys.executable, "-c", code, str(writer)], cwd=ROOT)) > 0


def test_speed_is_compared_with_the_weights_that_memory_can_read(writer, tmp_path):
    speed = written(writer, tmp_path / "out", documents=(0, 16)).speed
    assert speed.share == pytest.approx(speed.bytes_per_second / 1e10)
    assert speed.tokens_per_second == pytest.approx(speed.limit * speed.share)


def test_the_summary_is_what_the_files_hold(writer, tmp_path):
    written(writer, tmp_path / "out", documents=(8, 24))
    summary = read_yaml(tmp_path / "out" / SUMMARY)
    table = read_blocks(tmp_path / "out", [1, 2])
    assert (summary["first"], summary["stop"], summary["generated"]) == (8, 24, 16)
    assert summary["kept"] == len(table) == 16 - summary["empty"]
    assert summary["tokens"] == sum(table["tokens"].to_pylist())
    assert summary["capped"] == sum(not ended for ended in table["ended"].to_pylist())
    indices = table["index"].to_pylist()
    assert indices == sorted(set(indices) & set(range(8, 24)))
    assert len(set(table["id"].to_pylist())) == len(table)


def test_low_and_empty_documents_are_dropped_and_counted(writer, tmp_path):
    written(writer, tmp_path / "all", documents=(0, 64))
    result = written(
        writer, tmp_path / "some", documents=(0, 64), quality=QualitySettings(quality="embedded")
    )
    everything = read_blocks(tmp_path / "all", range(8))
    kept = pq.read_table(tmp_path / "some" / block_name(0))
    assert result.facts.empty == 64 - len(everything) > 0
    # words drawn alike: nothing of it is text
    assert result.facts.kept < 32
    assert result.facts.share_kept == result.facts.kept / 64
    assert all(p <= 0.5 for p in kept["probability_low"].to_pylist())
    assert result.facts.tokens == sum(everything["tokens"].to_pylist())


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ({"tokens": 0}, "--tokens is 0, expected at least 1"),
        ({}, "either --tokens or --documents"),
        ({"tokens": 5, "documents": (0, 8)}, "either --tokens or --documents"),
        ({"documents": (0, 0)}, "--documents is 0:0, expected FIRST:STOP"),
        ({"documents": (4, 16)}, "multiples of --block-documents"),
    ],
)
def test_an_empty_or_cut_budget_is_refused(writer, tmp_path, size, message):
    with pytest.raises(InputError, match=message):
        written(writer, tmp_path / "out", **size)
    assert not (tmp_path / "out").exists()


def test_a_folder_with_another_generation_is_refused(writer, make_writer, tmp_path):
    written(writer, tmp_path / "out", documents=(0, 8))
    other = make_writer(tmp_path / "other", ends=0.2)
    changed = [
        {"model": writer, "settings": GenerationSettings(seed=4, block_documents=8, max_tokens=20)},
        {"model": writer, "quality": QualitySettings(quality="embedded")},
        {"model": other},
    ]
    for call in changed:
        with pytest.raises(InputError, match="documents with another model"):
            written(**{"out": tmp_path / "out", "documents": (8, 16), **call})


def test_a_file_that_is_no_block_is_named(writer, tmp_path):
    (tmp_path / block_name(0)).write_bytes(b"PAR1")
    with pytest.raises(InputError, match="is not a block of documents; remove it"):
        written(writer, tmp_path, documents=(0, 8))


def test_vllm_is_asked_for_where_it_is_missing(writer, tmp_path):
    settings = GenerationSettings(block_documents=8, max_tokens=20, engine="vllm")
    with pytest.raises(MissingDependencyError, match=r"needs the package vllm.*--engine transformers"):
        written(writer, tmp_path / "out", settings=settings, documents=(0, 8))
    assert not (tmp_path / "out").exists()


def test_vllm_gets_start_token_cap_and_a_seed_a_document(make_writer, tmp_path, monkeypatch):
    asked = []

    class Engine:
        def __init__(self, **options):
            asked.append(options)

        def generate(self, prompts, sampling, use_tqdm):
            asked.extend(zip(prompts, sampling, strict=True))
            outputs = [types.SimpleNamespace(token_ids=[16, 17, 0]) for _ in prompts]
            return [types.SimpleNamespace(outputs=[output]) for output in outputs]

    stand_in = types.ModuleType("vllm")
    stand_in.LLM, stand_in.SamplingParams = Engine, lambda **options: options
    stand_in.__spec__ = importlib.machinery.ModuleSpec("vllm", None)
    monkeypatch.setitem(sys.modules, "vllm", stand_in)
    settings = GenerationSettings(block_documents=4, max_tokens=20, engine="vllm")
    folder = make_writer(tmp_path / "model")
    result = written(folder, tmp_path / "out", settings=settings, documents=(0, 4))
    assert asked[0]["model"] == str(folder)
    assert [prompt for prompt, _ in asked[1:]] == [{"prompt_token_ids": [0]}] * 4
    sampling = [options for _, options in asked[1:]]
    assert {(s["temperature"], s["max_tokens"], *s["stop_token_ids"]) for s in sampling} == {(1.0, 20, 0)}
    assert len({s["seed"] for s in sampling}) == 4
    assert read_blocks(tmp_path / "out", [0])["text"].to_pylist() == ["court law"] * 4
    assert result.facts.tokens == 8


def test_processes_of_a_master():
    assert [local_processes(m) for m in ("local", "local[3]", "local[2,3]", "spark://h:7077")] == [1, 3, 2, 1]
    assert local_processes("local[*,3]") >= 1
