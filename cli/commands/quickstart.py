"""`dmix quickstart`: the whole chain, small, by calling what the other commands call.

Effects are measured by counts, relative to the base model, and the effect agent steers by them. With
`--full`, a farm is collected and an agent trained on it instead.

Every stage finds out by itself what is done already, so running it again redoes nothing. The
files that the stages read (model, proxy, training, environment) are written beside the warehouse,
for people who want to go on by hand.
"""

import os
import shlex
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from signal import SIGTERM
from time import monotonic
from typing import TYPE_CHECKING, Any

import click

from dmix.cli.show.options import config_option, json_option, master_option
from dmix.cli.show.output import say, show_json, show_table
from dmix.cli.workflows.start.init import COPY_LIMIT_BYTES, copy_text
from dmix.cli.workflows.start.project_files import (
    BASE_RATE,
    MODEL,
    RATE,
    environment_text,
    proxy_text,
    training_text,
)
from dmix.warehouse_schema.errors import InputError, InterruptedRunError
from dmix.warehouse_schema.files.layout import Warehouse, publish_bytes, publish_json, read_json

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from dmix.etl.spark.executors import Automatic
    from dmix.training.evaluation.verdicts import Group
    from dmix.training.run.summary import RunSummary

NAME = "quickstart"
CONTROLLERS = (f"effect:{NAME}", "natural", "source-share:0.5")
FULL_CONTROLLERS = (f"agent:{NAME}", "natural", "naive")
SEQ_LEN = 128
STEPS = 6
STEP_SAMPLES = 128
BASE_TOKENS = 500_000
ITEMS = 60
DEMO_DOCUMENTS = 6_000

# Scales in nats per token by role, without a farm to measure them: about what a farm of this model measures
# on the generated text (0.16 and 2.5).
SCALES = {"general": 0.2, "target": 2.0}
# Weights of the model below, with the 8,192 tokens of the embedded tokenizer.
_PARAMETERS = 624_960
_BATCH = 16


@dataclass(frozen=True)
class Files:
    """Where the quickstart keeps what a user would write by hand."""

    folder: Path

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def turned_down(self) -> Path:
        return self.data / "rejected.json"

    @property
    def scaled(self) -> Path:
        return self.folder / "environment.yaml"

    @property
    def environment(self) -> Path:
        return self.data / "environment.yaml"

    def config(self, name: str) -> Path:
        return self.folder / f"{name}.yaml"


@click.command()
@config_option
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Folder of your own text, with sub-folders source* and target*. Default: generated text.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default="demo",
    show_default=True,
    metavar="DIR",
    help="Folder for files, warehouse and report.",
)
@click.option(
    "--seeds",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    help="Number of runs per controller.",
)
@click.option(
    "--full",
    is_flag=True,
    help="Collect a farm and train an agent on it, instead of using the effect agent.",
)
@master_option
@json_option
def quickstart(
    *,
    data: Path | None,
    out: Path,
    seeds: int,
    full: bool,
    master: str | None,
    as_json: bool,
    config: str | None,
) -> None:
    """Run the whole chain at small size: text, streams, effects, runs, report.

    It takes minutes on two cores. If it is interrupted, the same command resumes it. With --full, it also
    trains proxies along trajectories, and an agent on their feedback.

    Example: dmix quickstart --out demo
    """
    # a model this small gains nothing from a second thread, and waits for it where cores are busy
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from dmix.etl.spark.executors import Automatic
    from dmix.training.report import write_report
    from dmix.warehouse_schema.catalog.catalog import sync

    executor = Automatic(master=master, app="dmix quickstart")
    files = Files(out.absolute())
    warehouse = Warehouse.at(files.folder / "warehouse")
    _refuse_mixed(warehouse, full=full)
    controllers = FULL_CONTROLLERS if full else CONTROLLERS
    jobs = [(name, seed) for name in controllers for seed in range(seeds)]
    stages = 6 if full else 5
    with _second_process(wanted=not all(_has_started(warehouse, *job) for job in jobs)) as helper:
        runs = _chain(executor, warehouse, files, data=data, stages=stages, jobs=jobs, helper=helper)
    sync(warehouse)  # the report is made from it
    shown = [summary.run_id for summaries in runs.values() for summary in summaries]
    report = write_report(
        warehouse, runs=shown, out=files.folder / "report.html", turned_down=turned_down(files)
    )
    _show(runs, report.path, warehouse, as_json=as_json)


def _chain(
    executor: "Automatic",
    warehouse: Warehouse,
    files: Files,
    *,
    data: Path | None,
    stages: int,
    jobs: list[tuple[str, int]],
    helper: Executor | None,
) -> dict[str, list["RunSummary"]]:
    """All stages but the report; the runs of each controller."""
    from dmix.warehouse_schema.catalog.catalog import sync_at_end

    full = stages == 6
    with _stage(1, stages, "text and evaluation items"):
        _write_files(files, data)
    with _stage(2, stages, "classify the text and shard it into streams"):
        _build_dataset(executor, warehouse, files)
        sync_at_end(warehouse, warn=say)
    with _stage(3, stages, "a base model, pre-trained on the source"):
        _train_base(warehouse, files)
    if full:
        with _stage(4, stages, "trajectories, and the feedback of their proxies"):
            _farm(executor.on_spark().session, warehouse, files)
        with _stage(5, stages, "the agent, by supervised fine-tuning"):
            _train_agent(warehouse)
        named = "agent, natural and naive mixing"
    else:
        with _stage(4, stages, "which text helps which objective: effects by counts"):
            _count_effects(warehouse, files)
        named = "effect agent, natural and half-and-half mixing"
    with _stage(stages, stages, f"{len(jobs)} runs: {named}"):
        return _train_all(warehouse, files, jobs, helper)


@contextmanager
def _second_process(*, wanted: bool) -> Iterator[Executor | None]:
    """A process that trains half of the runs, where there are two cores or more.

    It imports what training needs while the stages before the runs use the other core.
    """
    if not wanted or len(os.sched_getaffinity(0)) < 2:
        yield None
        return
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        started = pool.submit(_begin_training)
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            if started.done() and not started.exception():
                with suppress(ProcessLookupError):
                    os.kill(started.result(), SIGTERM)  # its run saves its state and ends
            raise


def _begin_training() -> int:
    """Imports what training needs; the id of this process."""

    return os.getpid()


def _train_all(
    warehouse: Warehouse, files: Files, jobs: list[tuple[str, int]], helper: Executor | None
) -> dict[str, list["RunSummary"]]:
    """The runs of each controller, every second one from the process of `helper`."""
    # with sizes, since the other process reads this module anew
    train = partial(_run, warehouse, files, steps=STEPS, samples_per_step=STEP_SAMPLES)
    theirs = {} if helper is None else {job: helper.submit(train, *job) for job in jobs[1::2]}
    found = {job: train(*job) for job in jobs if job not in theirs}
    found |= {job: future.result() for job, future in theirs.items()}
    names = dict.fromkeys(name for name, _ in jobs)
    return {name: [found[job] for job in jobs if job[0] == name] for name in names}


def _refuse_mixed(warehouse: Warehouse, *, full: bool) -> None:
    """Raises `InputError` where runs of the two chains would not have the same scales."""
    started = (warehouse.run("effect-0") / "events.jsonl").is_file()
    scaled = (warehouse.feedback(NAME) / "environment.yaml").is_file()
    if full and started and not scaled:
        raise InputError(
            f"{warehouse.root} has runs without --full, which have no scales from a farm; choose"
            " another --out for --full"
        )


@contextmanager
def _stage(number: int, stages: int, title: str) -> Iterator[None]:
    say(f"[{number}/{stages}] {title}")
    started = monotonic()
    try:
        yield
    except InterruptedRunError:
        raise InterruptedRunError(
            f"stopped in stage {number} of {stages}; the same command resumes it"
        ) from None
    say(f"[{number}/{stages}] done in {monotonic() - started:.0f} s")


def _write_files(files: Files, data: Path | None) -> None:
    """The corpora, the items, and the files that the later stages read."""
    scratch = training_text(_BATCH, BASE_RATE, why="a model from random weights")
    trained = training_text(_BATCH, RATE, why="a small model that dmix trained on your source first")
    # proxies start from the base model, which has something to forget
    texts = {"model": MODEL, "proxy": proxy_text("base"), "training": trained, "base-training": scratch}
    for name, text in texts.items():
        publish_bytes(files.config(name), text.encode())
    if files.environment.is_file():
        say(f"{files.data} has text already; choose another --out for other text")
    elif data is None:
        from dmix.etl.demo.corpus import write_demo_corpus

        write_demo_corpus(files.data, seed=0, documents=DEMO_DOCUMENTS)
    else:
        _hold_out(files, data)
        # last, since it tells the next start that the text is whole
        publish_bytes(files.data / "judging.yaml", environment_text("judging", "judging").encode())
        publish_bytes(files.environment, environment_text("feedback", "items").encode())


def _hold_out(files: Files, data: Path) -> None:
    from dmix.etl.reading.holdout import field_folders

    found = {}
    for field, folders in field_folders(data).items():
        result = copy_text(folders, field=field, text=files.data, out=files.data, num_items=ITEMS)
        found[f"{NAME}-{field}"] = dict(result.rejected)
        rejected = ", ".join(f"{reason} {count:,}" for reason, count in result.rejected.items())
        more = "more left out beyond" if result.left_out else "all within"
        say(
            f"{field}: {result.kept:,} documents to train on; {result.items} feedback and"
            f" {result.judging} judging items held out;"
            f" {f'not taken: {rejected}' if rejected else 'none rejected'};"
            f" {more} {COPY_LIMIT_BYTES / 2**20:.0f} MB"
        )
    publish_json(files.turned_down, found)


def turned_down(files: Files) -> dict[str, dict[str, int]]:
    """Documents that were turned down before classifying, by corpus and reason."""
    return read_json(files.turned_down) if files.turned_down.is_file() else {}


def _build_dataset(executor: "Automatic", warehouse: Warehouse, files: Files) -> None:
    from dmix.cli.workflows.data.kept_out import evaluation_items
    from dmix.etl.classify.classify import classify_corpora, field_requests
    from dmix.etl.classify.settings import ClassifySettings
    from dmix.etl.shard.settings import ShardSettings
    from dmix.etl.shard.shard import shard_dataset

    settings = ClassifySettings()
    judging = [path for path in (files.data / "judging.yaml",) if path.is_file()]
    inputs = {field: [str(files.data / field)] for field in ("source", "target")}
    requests = field_requests(warehouse, inputs, name=NAME, add=False, settings=settings)
    outcomes = classify_corpora(executor, warehouse, requests, settings=settings, progress=say)
    shard_dataset(
        executor,
        warehouse,
        corpora=[outcome.version for outcome in outcomes],
        settings=ShardSettings(seq_len=SEQ_LEN, name=NAME),
        items=evaluation_items([files.environment, *judging]),
        progress=say,
    )


def _train_base(warehouse: Warehouse, files: Files) -> None:
    from dmix.training.model.settings import load_training
    from dmix.training.run.base import base_config, train_base

    config = base_config(
        warehouse,
        model=str(files.config("model")),
        tokens=BASE_TOKENS,
        name=NAME,
        training=load_training(files.config("base-training")),
        dataset=NAME,
    )
    train_base(warehouse, config, progress=say)


def _farm(spark: "SparkSession", warehouse: Warehouse, files: Files) -> None:
    from dmix.mixing.trajectories.objectives import load_environment
    from dmix.mixing.trajectories.sampling import sample_trajectories
    from dmix.mixing.trajectories.settings import SampleSettings
    from dmix.training.farm.farm import collect, plan_farm
    from dmix.training.model.settings import load_proxy
    from dmix.warehouse_schema.files.manifests import read_dataset_manifest

    settings = SampleSettings(
        paths=2,
        random_paths=2,
        top_k=(1, 100),
        steps=STEPS,
        candidates=4_000,
        samples_per_step=STEP_SAMPLES,
        run_samples_per_step=STEP_SAMPLES,
        batch_size=16,
    )
    manifest = read_dataset_manifest(warehouse, NAME)
    sample_trajectories(warehouse, manifest=manifest, set_name=NAME, settings=settings, progress=say)
    farm = plan_farm(
        warehouse,
        NAME,
        environment=load_environment(files.environment),
        proxy=load_proxy(files.config("proxy")),
        base=NAME,
    )
    collect(warehouse, farm, spark=spark, progress=say)


def _train_agent(warehouse: Warehouse) -> None:
    from dmix.mixing.learning.sft import SftSettings, train_sft

    if (warehouse.agent(NAME) / "config.json").is_file():
        say(f"agent {NAME} exists already")
        return
    train_sft(warehouse, set_name=NAME, agent_name=NAME, settings=SftSettings(epochs=60), progress=say)


def _count_effects(warehouse: Warehouse, files: Files) -> None:
    from dmix.cli.workflows.effects.counts import probe_counts

    scaled_environment(files)
    probe_counts(warehouse, environment=files.scaled, dataset=NAME, model=NAME, name=NAME, progress=say)


def scaled_environment(files: Files) -> Path:
    """The environment file with a scale for each objective by its role, where it has none."""
    from dmix.mixing.trajectories.objectives import load_environment, write_environment

    environment = load_environment(files.environment)
    scales = {o.name: SCALES[o.role] for o in environment.objectives} | environment.scales
    write_environment(files.scaled, replace(environment, scales=scales))
    return files.scaled


def _run_id(controller: str, seed: int) -> str:
    return f"{controller.partition(':')[0]}-{seed}"


def _has_started(warehouse: Warehouse, controller: str, seed: int) -> bool:
    return (warehouse.run(_run_id(controller, seed)) / "events.jsonl").is_file()


def _run(
    warehouse: Warehouse, files: Files, controller: str, seed: int, *, steps: int, samples_per_step: int
) -> "RunSummary":
    """One run: new, gone on with, or found finished; its lines begin with its name."""
    from dmix.training.model.settings import load_training
    from dmix.training.run.config import make_config
    from dmix.training.run.launch import resume_run, start_run
    from dmix.training.run.request import RunRequest
    from dmix.training.run.summary import summarise

    run_id = _run_id(controller, seed)

    def progress(line: str) -> None:
        say(line if run_id in line else f"{run_id}: {line}")

    if _has_started(warehouse, controller, seed):
        summary = summarise(warehouse.run(run_id) / "events.jsonl")
        return summary if summary.finished else resume_run(warehouse, run_id, progress=progress)
    request = RunRequest(
        steps=steps, samples_per_step=samples_per_step, exhaustion="repeat", max_passes=100, seed=seed
    )
    of_farm = warehouse.feedback(NAME) / "environment.yaml"
    config = make_config(
        warehouse,
        request,
        model=NAME,
        controller=controller,
        training=load_training(files.config("training")),
        # the farm's, where there is one: its scales make the utilities of all runs comparable
        environment=of_farm if of_farm.is_file() else files.scaled,
        dataset=NAME,
        run_id=run_id,
    )
    return start_run(warehouse, config, progress=progress)


def _show(runs: dict[str, list["RunSummary"]], report: Path, warehouse: Warehouse, *, as_json: bool) -> None:
    from dmix.training.evaluation.verdicts import headline

    groups = _groups(runs, warehouse)
    columns, rows = comparison(runs)
    answer, note = headline(groups), size_note(groups, next(iter(runs.values()))[0])
    if as_json:
        table = [dict(zip(columns, row, strict=True)) for row in rows]
        facts = {"answer": answer, "note": note, "report": str(report), "warehouse": str(warehouse.root)}
        show_json({**facts, "runs": table})
        return
    show_table(columns, rows, title="Scores after the run, nats per token (mean over seeds)")
    say(answer)
    query = "SELECT * FROM domain_tokens"
    say(f"to ask for more: dmix sql --warehouse {shlex.quote(str(warehouse.root))} {shlex.quote(query)}")
    say(note)
    click.echo(report)


def _groups(runs: dict[str, list["RunSummary"]], warehouse: Warehouse) -> "list[Group]":
    """The runs as the report judges them."""
    from dmix.training.report.queries.judged import largest_comparison
    from dmix.training.report.queries.run_facts import read_run
    from dmix.warehouse_schema.catalog.catalog import Catalog

    with Catalog.open_reader(warehouse) as catalog:
        found = [read_run(catalog, summary.run_id) for of in runs.values() for summary in of]
    return largest_comparison(found)


def size_note(groups: "list[Group]", run: "RunSummary") -> str:
    """What these runs cannot show, and what would."""
    from dmix.training.evaluation.verdicts import seeds_that_suffice

    seeds = max((len(group.utilities) for group in groups), default=1)
    needed = seeds_that_suffice(groups)
    if needed is None:
        seeds_note = "at least two seeds are needed to measure the noise"
    elif needed > seeds:
        seeds_note = f"about {needed:,} seeds would distinguish the two best controllers, and {seeds} ran"
    else:
        seeds_note = (
            f"{seeds} seeds distinguish the two best controllers, but only on this text and at this size"
        )
    return (
        f"This demonstrates the chain and proves nothing: {_PARAMETERS / 1000000.0:.1f} million"
        f" weights after {BASE_TOKENS:,} tokens cannot read, and {run.tokens:,} tokens per run are"
        f" few; {seeds_note}. For a judgement, use your own text and a checkpoint that can read, of"
        " 100 million weights or more: dmix init --data FOLDER --model PATH OUT"
    )


def comparison(runs: dict[str, list["RunSummary"]]) -> tuple[list[str], list[list[Any]]]:
    """Columns and rows of the closing table, a row per controller.

    Args:
        runs: Summaries of runs over the same objectives, by controller.
    """
    objectives = next(iter(runs.values()))[0].objectives

    def mean(summaries: list["RunSummary"], value: Callable[["RunSummary"], float]) -> float:
        return sum(map(value, summaries)) / len(summaries)

    columns = ["controller", *objectives, "source tokens", "target tokens", "seeds"]
    rows: list[list[Any]] = []
    first = next(iter(runs.values()))[0]
    rows.append(["(before)", *first.feedback_TD[0].tolist(), None, None, None])
    for controller, summaries in runs.items():
        scores = [
            mean(summaries, lambda s, i=i: float(s.feedback_TD[-1, i]))  # type: ignore[misc]
            for i in range(len(objectives))
        ]
        source = mean(summaries, lambda s: s.source_tokens)
        target = mean(summaries, lambda s: s.tokens - s.source_tokens)
        name = controller.partition(":")[0]
        rows.append([name, *scores, round(source), round(target), len(summaries)])
    return columns, rows
