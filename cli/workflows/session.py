"""Everything that the commands do, from Python: `dmix.open(path)` gives a `Session`.

Each method takes what its command takes, under the names of the flags, with the same defaults: both
call the same workflow. Settings classes become keyword arguments, so that `help(Session.sample)` and a
notebook's completion show them.
"""

import os
from typing import Any

from dmix.cli.show.notebook import progress_lines
from dmix.cli.show.result import Result
from dmix.cli.workflows.agents.collect import collect_farm
from dmix.cli.workflows.agents.learn import METHODS, judge_agent
from dmix.cli.workflows.agents.learn import train_agent as train_agent_of
from dmix.cli.workflows.agents.sample import sample_set
from dmix.cli.workflows.bench.quality import compare_controllers
from dmix.cli.workflows.bench.regmix import judge_regressors
from dmix.cli.workflows.data.catalog import export_catalog, rebuild_catalog
from dmix.cli.workflows.data.classify import classify_text
from dmix.cli.workflows.data.distil import distil_classifier
from dmix.cli.workflows.data.maintain import remove_unnamed, verify_files
from dmix.cli.workflows.data.screen import screen_contamination, screen_duplicates
from dmix.cli.workflows.data.shard import shard_corpora
from dmix.cli.workflows.data.start_state import show_start_state
from dmix.cli.workflows.data.synthesize import synthesize_text
from dmix.cli.workflows.effects.planning import plan_from_effects
from dmix.cli.workflows.effects.probe import probe_effects
from dmix.cli.workflows.methods import PathLike, Paths, method_of, several
from dmix.cli.workflows.quickstart.chain import quickstart
from dmix.cli.workflows.runs.ask import ask_for_arrow
from dmix.cli.workflows.runs.base_model import train_base_model
from dmix.cli.workflows.runs.evaluate import evaluate_models
from dmix.cli.workflows.runs.report import report_runs
from dmix.cli.workflows.runs.train import train_run
from dmix.cli.workflows.start.doctor import examine_machine
from dmix.cli.workflows.start.init import init_project
from dmix.etl.classify.settings import ClassifySettings
from dmix.etl.distilling.settings import DistilSettings
from dmix.etl.quality.settings import QualitySettings
from dmix.etl.shard.settings import ShardSettings
from dmix.etl.synthetic.generation_settings import GenerationSettings
from dmix.etl.synthetic.start_state.settings import StartStateSettings
from dmix.etl.templates.settings import TextSettings
from dmix.mixing.effects.settings import PlanRules
from dmix.mixing.learning.settings.evaluate import EvaluateSettings
from dmix.mixing.trajectories.settings import SampleSettings
from dmix.training.evaluation.settings import EvaluationSettings
from dmix.training.run.request import RunRequest
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.settings import settings_from

DEFAULT_WAREHOUSE = "./warehouse"


class Session:
    """A warehouse and what can be done with it; made by `dmix.open`.

    Every method returns a `Result`, which shows itself in a notebook: `result.df()` is its table,
    `result.facts` what the command prints with `--json`, `result.value` the library's object.

    Args:
        path: Folder of the warehouse; it need not exist yet.
    """

    def __init__(self, path: PathLike) -> None:
        self.warehouse = Warehouse.at(os.fspath(path))

    def __repr__(self) -> str:
        return f"dmix.open({str(self.warehouse.root)!r})"

    classify = method_of(classify_text, command="dmix etl classify", settings={"settings": ClassifySettings})
    shard = method_of(shard_corpora, command="dmix etl shard", settings={"settings": ShardSettings})
    doctor = method_of(examine_machine, command="dmix doctor")
    init = method_of(init_project, command="dmix init", settings={"settings": TextSettings})
    quickstart = method_of(quickstart, command="dmix quickstart")
    bench_quality = method_of(compare_controllers, command="dmix bench quality")
    bench_regmix = method_of(judge_regressors, command="dmix bench regmix")
    verify = method_of(verify_files, command="dmix etl verify")
    gc = method_of(remove_unnamed, command="dmix etl gc")
    duplicates = method_of(screen_duplicates, command="dmix etl duplicates")
    contamination = method_of(screen_contamination, command="dmix etl contamination")
    distil = method_of(distil_classifier, command="dmix etl distil", settings={"settings": DistilSettings})
    start_state = method_of(
        show_start_state,
        command="dmix etl start-state",
        settings={"settings": StartStateSettings, "generation": GenerationSettings},
    )
    synthesize = method_of(
        synthesize_text,
        command="dmix etl synthesize",
        settings={"generation": GenerationSettings, "quality": QualitySettings},
    )
    rebuild_catalog = method_of(rebuild_catalog, command="dmix catalog rebuild")
    export_catalog = method_of(export_catalog, command="dmix catalog export")
    sample = method_of(sample_set, command="dmix mix sample", settings={"settings": SampleSettings})
    collect = method_of(collect_farm, command="dmix mix collect")
    probe = method_of(probe_effects, command="dmix mix probe")
    plan = method_of(plan_from_effects, command="dmix mix plan", settings={"rules": PlanRules})
    train_base = method_of(train_base_model, command="dmix train base")
    evaluate_agent = method_of(
        judge_agent, command="dmix agent evaluate", settings={"settings": EvaluateSettings}
    )
    train = method_of(train_run, command="dmix train", settings={"request": RunRequest})
    evaluate = method_of(evaluate_models, command="dmix eval", settings={"settings": EvaluationSettings})
    report = method_of(report_runs, command="dmix report")

    def train_agent(
        self,
        method: str = "sft",
        *,
        set: Paths,
        agent: str,
        from_: str | None = None,
        overwrite: bool = False,
        dry_run: bool = False,
        **settings: Any,
    ) -> Result:
        """Trains an agent that chooses mixtures, as `dmix agent sft`, `clone` and `rl`.

        Args:
            method: `sft`, `clone` or `rl`.
            set: Set of trajectories to learn from; for `sft` it may be several.
            agent: Name of the agent.
            from_: For `rl`: agent that the actor starts from.
            overwrite: Replace an agent of that name.
            dry_run: Say what it would take, and train nothing.
            settings: Settings of the method, as the flags of its command.
        """
        if method not in METHODS:
            raise InputError(f"method is {method!r}, expected one of {', '.join(METHODS)}")
        given = {name: value for name, value in settings.items() if value is not None}
        for name in sorted(given.keys() & METHODS[method].hidden):
            raise InputError(f"method {method!r} has no setting {name}; leave this setting out")
        with progress_lines() as progress:
            return train_agent_of(
                self.warehouse,
                method=method,
                set_names=several(set),
                agent_name=agent,
                settings=settings_from(METHODS[method].settings, given, where="train_agent()"),
                start=from_,
                overwrite=overwrite,
                dry_run=dry_run,
                progress=progress,
            )

    def sql(self, query: str, *, allow_io: bool = False, memory_gb: float | None = None) -> Result:
        """The catalog's answer to one question in SQL, as `dmix sql`; `.df()` and `.arrow()` give it whole.

        Args:
            query: One statement of DuckDB's SQL.
            allow_io: Let the query read files, and COPY write them outside the warehouse.
            memory_gb: Memory that it may take, in GB; a quarter of the machine's when left out.
        """
        return ask_for_arrow(self.warehouse, query, allow_io=allow_io, memory_gb=memory_gb)


for _name, _member in vars(Session).items():
    if not _name.startswith("_"):
        _member.__name__, _member.__qualname__ = _name, f"Session.{_name}"


def open(path: PathLike | None = None) -> Session:
    """A session on a warehouse, which need not exist yet.

    Args:
        path: Folder of the warehouse; `$DMIX_WAREHOUSE`, else `./warehouse`, when left out.
    """
    return Session(os.environ.get("DMIX_WAREHOUSE", DEFAULT_WAREHOUSE) if path is None else path)
