"""Everything that the commands do, from Python: `dmix.open(path)` gives a `Session`.

Each method takes what its command takes, under the names of the flags, with the same defaults; both
call the same function of `dmix.cli.workflows`. Settings classes become keyword arguments, so that
`help(Session.sample)` and a notebook's completion show them.
"""

import dataclasses
import functools
import inspect
import os
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from dmix.cli.show.notebook import progress_lines
from dmix.cli.show.result import Result
from dmix.etl.classify.settings import ClassifySettings
from dmix.etl.shard.settings import ShardSettings
from dmix.etl.spark.masters import IN_PROCESS_BYTES
from dmix.mixing.learning.settings.clone import CloneSettings
from dmix.mixing.learning.settings.rl import RlSettings
from dmix.mixing.learning.settings.sft import SftSettings
from dmix.mixing.trajectories.settings import SampleSettings
from dmix.training.evaluation.settings import KINDS, EvaluationSettings
from dmix.training.run.request import RunRequest
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.settings import settings_from

if TYPE_CHECKING:
    from dmix.etl.spark.executors import Automatic

Method = TypeVar("Method", bound=Callable[..., Any])
PathLike = str | os.PathLike[str]
Paths = PathLike | Sequence[PathLike]
DEFAULT_WAREHOUSE = "./warehouse"
AGENT_SETTINGS: dict[str, tuple[type[Any], tuple[str, ...]]] = {
    "sft": (SftSettings, ()),
    "clone": (CloneSettings, ("architecture", "domain_width")),
    "rl": (RlSettings, ()),
}
"""Settings of each method of `train_agent`, and fields of them that its command has no flag for."""


def takes_settings(
    cls: type[Any], *, parameter: str = "settings", hidden: tuple[str, ...] = ()
) -> Callable[[Method], Method]:
    """Gives a method one keyword argument for each field of a settings class; it gets an instance.

    Args:
        cls: A settings class (`dmix.warehouse_schema.settings`).
        parameter: Name of the argument that the method receives.
        hidden: Fields that become no argument.
    """
    fields = {field.name: field for field in dataclasses.fields(cls) if field.name not in hidden}
    hints = typing.get_type_hints(cls)

    def decorate(method: Method) -> Method:
        @functools.wraps(method)
        def call(self: "Session", *arguments: Any, **values: Any) -> Any:
            given = {name: values.pop(name) for name in fields if name in values}
            given = {name: value for name, value in given.items() if value is not None}
            values[parameter] = settings_from(cls, given, where=f"{method.__name__}()")
            return method(self, *arguments, **values)

        signature = inspect.signature(method)
        own = [p for name, p in signature.parameters.items() if name != parameter]
        own += [
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=_default(field), annotation=hints[name]
            )
            for name, field in fields.items()
        ]
        call.__signature__ = signature.replace(parameters=own)  # type: ignore[attr-defined]
        lines = [f"    {name}: {field.metadata.get('help', '')}" for name, field in fields.items()]
        call.__doc__ = "\n".join([inspect.cleandoc(method.__doc__ or ""), "", "Settings:", *lines])
        return typing.cast(Method, call)

    return decorate


def _default(field: "dataclasses.Field[Any]") -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return inspect.Parameter.empty if field.default is dataclasses.MISSING else field.default


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

    @takes_settings(ClassifySettings)
    def classify(
        self,
        *,
        source: Paths = (),
        target: Paths = (),
        name: str = "main",
        add: bool = False,
        data_url: str | None = None,
        master: str | None = None,
        in_process_bytes: int = IN_PROCESS_BYTES,
        dry_run: bool = False,
        settings: ClassifySettings,
    ) -> Result:
        """Reads text and gives every document its domain, as `dmix etl classify`.

        Args:
            source: Files, folders, globs or URLs of the source field.
            target: The same of the target field.
            name: Makes the corpora `NAME-source` and `NAME-target`.
            add: Keep the inputs of the last versions and add these.
            data_url: Remote folder for labels and streams, which the warehouse remembers.
            master: Spark master, `$DMIX_MASTER` by default; naming one means Spark at any size.
            in_process_bytes: Without `master`, inputs up to this size need no Spark.
            dry_run: Look, and classify nothing.
        """
        from dmix.cli.workflows.data.classify import classify_text

        return classify_text(
            self.warehouse,
            source=[str(path) for path in several(source)],
            target=[str(path) for path in several(target)],
            name=name,
            add=add,
            settings=settings,
            executor=self._executor(master, in_process_bytes),
            data_url=data_url,
            dry_run=dry_run,
            progress=progress_lines(),
        )

    @takes_settings(ShardSettings)
    def shard(
        self,
        *,
        corpus: str | Sequence[str] = (),
        environment: Paths = (),
        data_url: str | None = None,
        master: str | None = None,
        in_process_bytes: int = IN_PROCESS_BYTES,
        dry_run: bool = False,
        settings: ShardSettings,
    ) -> Result:
        """Tokenises corpora and packs them into one stream per domain, as `dmix etl shard`.

        Args:
            corpus: Corpora to use, `NAME[@vK]`; may be left out where one pair is there.
            environment: Environment files whose items are kept out of the training text.
            data_url: Remote folder for labels and streams, which the warehouse remembers.
            master: Spark master, `$DMIX_MASTER` by default; naming one means Spark at any size.
            in_process_bytes: Without `master`, inputs up to this size need no Spark.
            dry_run: Look, and write nothing.
        """
        from dmix.cli.workflows.data.shard import shard_corpora

        return shard_corpora(
            self.warehouse,
            corpus=several(corpus),
            settings=settings,
            environment=paths(environment),
            executor=self._executor(master, in_process_bytes),
            data_url=data_url,
            dry_run=dry_run,
            progress=progress_lines(),
        )

    @takes_settings(SampleSettings)
    def sample(
        self,
        *,
        set: str,
        dataset: str | None = None,
        processes: int | None = None,
        dry_run: bool = False,
        settings: SampleSettings,
    ) -> Result:
        """Samples trajectories with Algorithm 1, as `dmix mix sample`.

        Args:
            set: Name of the set of trajectories.
            dataset: Id or name; may be left out when there is one.
            processes: Processes to use; one a core when left out.
            dry_run: Say what it would take, and sample nothing.
        """
        from dmix.cli.workflows.agents.sample import sample_set

        return sample_set(
            self.warehouse,
            set_name=set,
            dataset=dataset,
            settings=settings,
            processes=processes,
            dry_run=dry_run,
            progress=progress_lines(),
        )

    def collect(
        self,
        *,
        set: str,
        environment: PathLike,
        proxy: PathLike | None = None,
        base: str | Sequence[str] = (),
        stack: int = 1,
        gpus_per_task: float | None = None,
        master: str | None = None,
        in_process: bool = False,
        allow_unscreened: bool = False,
        accept_changes: bool = False,
        dry_run: bool = False,
    ) -> Result:
        """Trains a proxy along every trajectory of a set and scores it, as `dmix mix collect`.

        Args:
            set: Set of trajectories to follow.
            environment: Objectives that proxies are scored on.
            proxy: Proxy model and its training; a small LLaMA when left out.
            base: Base models that proxies start from, under `init: base`.
            stack: Most trajectories of one task.
            gpus_per_task: GPUs that Spark gives each task.
            master: Spark master, `$DMIX_MASTER` by default.
            in_process: Train here, without Spark.
            allow_unscreened: Go on with a warning where evaluation items were not kept out of the dataset.
            accept_changes: Go on although items or base models changed since feedback was collected.
            dry_run: Say what it would take, and train nothing.
        """
        from dmix.cli.workflows.agents.collect import collect_farm

        return collect_farm(
            self.warehouse,
            set_name=set,
            environment=Path(environment),
            proxy=None if proxy is None else Path(proxy),
            bases=several(base),
            stack=stack,
            gpus_per_task=gpus_per_task,
            master=master or os.environ.get("DMIX_MASTER"),
            in_process=in_process,
            allow_unscreened=allow_unscreened,
            accept_changes=accept_changes,
            dry_run=dry_run,
            progress=progress_lines(),
        )

    def probe(
        self,
        *,
        environment: PathLike,
        dataset: str | None = None,
        estimator: str = "counts",
        model: str | None = None,
        training: PathLike | None = None,
        groups: int | None = None,
        steps: int | None = None,
        samples: int | None = None,
        max_hours: float | None = None,
        export: PathLike | None = None,
        scores: PathLike | None = None,
        name: str | None = None,
        master: str | None = None,
        allow_unscreened: bool = False,
        dry_run: bool = False,
    ) -> Result:
        """Measures which domain helps which objective, before a run, as `dmix mix probe`.

        Args:
            environment: Objectives whose items tell what text helps.
            dataset: Id or name; may be left out when there is one.
            estimator: `counts`, `gradient` or `probe`.
            model: Model that is measured; with `counts`, only what a domain knows and it does not counts.
            training: Training file of the runs that the effects are for.
            groups: Most groups of domains that are probed.
            steps: Steps of a probe.
            samples: Samples of the run that gradients or probes are for; the dataset's if left out.
            max_hours: Hours that it may take.
            export: Folder for probe mixtures for your own trainer; nothing is trained.
            scores: Table of your own trainer's scores.
            name: Name of the effects.
            master: Spark master that counts, `$DMIX_MASTER` by default.
            allow_unscreened: Go on with a warning where evaluation items were not kept out of the dataset.
            dry_run: Say what it would take, and measure nothing.
        """
        from dmix.cli.workflows.effects.probe import probe_effects

        return probe_effects(
            self.warehouse,
            environment=Path(environment),
            dataset=dataset,
            estimator=estimator,
            model=model,
            training=None if training is None else Path(training),
            groups=groups,
            steps=steps,
            samples=samples,
            max_hours=max_hours,
            export_to=None if export is None else Path(export),
            scores=None if scores is None else Path(scores),
            name=name,
            master=master or os.environ.get("DMIX_MASTER"),
            allow_unscreened=allow_unscreened,
            dry_run=dry_run,
            progress=progress_lines(),
        )

    def train_agent(
        self,
        method: str = "sft",
        *,
        set: str | Sequence[str],
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
        from dmix.cli.workflows.agents import learn

        if method not in AGENT_SETTINGS:
            raise InputError(f"method is {method!r}, expected one of {', '.join(AGENT_SETTINGS)}")
        cls, hidden = AGENT_SETTINGS[method]
        given = {name: value for name, value in settings.items() if value is not None}
        for name in hidden:
            if name in given:
                raise InputError(f"{name} is no setting of method {method!r}; leave it out")
        common: dict[str, Any] = {
            "agent_name": agent,
            "settings": settings_from(cls, given, where="train_agent()"),
            "overwrite": overwrite,
            "dry_run": dry_run,
            "progress": progress_lines(),
        }
        if from_ is not None and method != "rl":
            raise InputError("from_ is the agent that method 'rl' starts from; leave it out")
        if method == "sft":
            return learn.train_sft_agent(self.warehouse, set_names=several(set), **common)
        [name] = several(set)
        if method == "clone":
            return learn.train_clone_agent(self.warehouse, set_name=name, **common)
        return learn.train_rl_agent(self.warehouse, set_name=name, start=from_, **common)

    @takes_settings(RunRequest, parameter="request")
    def train(
        self,
        *,
        model: str | PathLike | None = None,
        environment: PathLike | None = None,
        agent: str | None = None,
        controller: str | None = None,
        run: str | None = None,
        resume: bool = False,
        back: bool = False,
        accept_changes: bool = False,
        trust_controller: bool = False,
        dataset: str | None = None,
        training: PathLike | None = None,
        logger: str | Sequence[str] = (),
        ranks: int | None = None,
        allow_unscreened: bool = False,
        dry_run: bool = False,
        request: RunRequest,
    ) -> Result:
        """Trains a model under an agent or another controller, as `dmix train`.

        Args:
            model: Model file, checkpoint folder, model of the warehouse, or hub id.
            environment: Objectives to score on.
            agent: Agent that steers the run.
            controller: What steers instead.
            run: Name of the run; made from the time when left out.
            resume: Go on with `run` where its newest checkpoint is.
            back: With `resume`: go on from the checkpoint before the newest.
            accept_changes: Go on although items or the code of the controller changed.
            trust_controller: With `resume`: run the code of a `python:` controller.
            dataset: Id or name; may be left out when there is one.
            training: Training file.
            logger: Where Composer sends metrics too.
            ranks: Ranks that `dry_run` plans the memory for.
            allow_unscreened: Go on with a warning where evaluation items were not kept out of the dataset.
            dry_run: Say what it would take, and train nothing.
        """
        from dmix.cli.workflows.runs.train import train_run

        values: dict[str, Any] = {
            "model": None if model is None else str(model),
            "environment": None if environment is None else Path(environment),
            "agent": agent,
            "controller": controller,
            "training": None if training is None else Path(training),
        }
        default = RunRequest()
        settings = {field.name: getattr(request, field.name) for field in dataclasses.fields(request)}
        given = {name: value for name, value in values.items() if value is not None}
        given |= {name: value for name, value in settings.items() if value != getattr(default, name)}
        result = train_run(
            self.warehouse,
            **values,
            run_id=run,
            resume=resume,
            back=back,
            accept_changes=accept_changes,
            trust_controller=trust_controller,
            dataset=dataset,
            loggers=several(logger),
            request=request,
            ranks=ranks,
            allow_unscreened=allow_unscreened,
            dry_run=dry_run,
            given=given,
            progress=progress_lines(),
        )
        return result or Result({"run_id": run})

    @takes_settings(EvaluationSettings)
    def evaluate(
        self,
        *,
        run: str | None = None,
        step: str | int | Sequence[str | int] = (),
        model: str | PathLike | None = None,
        task: str | Sequence[str] = (),
        items: Paths = (),
        kind: str = KINDS[0],
        accept_changes: bool = False,
        dry_run: bool = False,
        settings: EvaluationSettings,
    ) -> Result:
        """Scores models of a run on benchmarks, as `dmix eval`.

        Args:
            run: Run whose models are evaluated; scores are kept with it.
            step: Steps of the run, or `all`; the newest model when left out.
            model: A model of no run.
            task: Tasks of lm-evaluation-harness or evalplus, or groups of them.
            items: Files of evaluation items.
            kind: Form of the items.
            accept_changes: Go on although items or the model that the run started from changed.
            dry_run: Say what would be scored, and score nothing.
        """
        from dmix.cli.workflows.runs.evaluate import evaluate_models

        return evaluate_models(
            self.warehouse,
            run_id=run,
            steps=[str(number) for number in ((step,) if isinstance(step, int) else several(step))],
            model=None if model is None else str(model),
            tasks=several(task),
            items=paths(items),
            kind=kind,
            accept_changes=accept_changes,
            settings=settings,
            dry_run=dry_run,
            progress=progress_lines(),
        )

    def report(
        self,
        *,
        run: str | Sequence[str] = (),
        out: PathLike | None = None,
        watch: bool = False,
        every: float = 15.0,
    ) -> Result:
        """Writes one HTML file about runs and their data, as `dmix report`.

        Args:
            run: Runs to show; the newest ones when left out.
            out: File to write.
            watch: Write the file again and again until no run in it is under way.
            every: Seconds between two pages of `watch`.
        """
        from dmix.cli.workflows.runs.report import report_runs

        return report_runs(
            self.warehouse,
            runs=several(run),
            out=None if out is None else Path(out),
            watch=watch,
            every=every,
            progress=progress_lines(),
        )

    def sql(self, query: str, *, allow_io: bool = False, memory_gb: float | None = None) -> Result:
        """The catalog's answer to one question in SQL, as `dmix sql`; `.df()` and `.arrow()` give it whole.

        Args:
            query: One statement of DuckDB's SQL.
            allow_io: Let the query read files, and COPY write them outside the warehouse.
            memory_gb: Memory that it may take, in GB; a quarter of the machine's when left out.
        """
        from dmix.cli.workflows.runs.ask import ask_for_arrow

        return ask_for_arrow(self.warehouse, query, allow_io=allow_io, memory_gb=memory_gb)

    def _executor(self, master: str | None, in_process_bytes: int) -> "Automatic":
        from dmix.etl.spark.executors import Automatic

        master = master or os.environ.get("DMIX_MASTER") or None
        return Automatic(master=master, app="dmix", in_process_bytes=in_process_bytes)


def several(given: Any) -> tuple[Any, ...]:
    """One value, or a sequence of them, as a tuple."""
    return (given,) if isinstance(given, str | os.PathLike) else tuple(given)


def paths(given: Paths) -> tuple[Path, ...]:
    """One path, or a sequence of them."""
    return tuple(Path(path) for path in several(given))


def open(path: PathLike | None = None) -> Session:
    """A session on a warehouse, which need not exist yet.

    Args:
        path: Folder of the warehouse; `$DMIX_WAREHOUSE`, else `./warehouse`, when left out.
    """
    return Session(os.environ.get("DMIX_WAREHOUSE", DEFAULT_WAREHOUSE) if path is None else path)
