"""Configurations of runs: from what a user asks for to every choice made, and to a file and back.

`runs/<id>/config.yaml` holds everything that a run depends on, files that the user named
included by content where they are small (model file, environment, training file), so that
resuming does not depend on whether they still look the same. Nothing here imports Composer, so
that the command line refuses what does not fit before it has to.
"""

import dataclasses
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from typing import Any

import yaml

from dmix.mixing.controllers import Controller, effect, fixed
from dmix.mixing.controllers.guarded import load_limits
from dmix.mixing.controllers.plan import plan_for_run
from dmix.mixing.controllers.registry import kind_of
from dmix.mixing.delivery.step_plan import PlanSettings, check_settings
from dmix.mixing.delivery.streams import StreamSizes
from dmix.mixing.effects.plan import Supply
from dmix.mixing.effects.store import check_objectives, fitting_effects
from dmix.mixing.space.budget import FieldPasses, auto_step_samples, expected_coverage, smallest_share
from dmix.mixing.space.domains import DomainSpace
from dmix.mixing.trajectories.objectives import (
    Environment,
    check_items,
    environment_to_json,
    load_environment,
)
from dmix.training.model.own_tokenizer import check_tokenizer
from dmix.training.model.settings import ModelSettings, TrainingSettings
from dmix.training.run.request import (
    BASE_RUN,
    RunRequest,
    rate_warning,
    resolve_model,
    run_config_file,
    with_rate,
)
from dmix.training.run.watching.steering import (
    absolute_spec,
    check_steering,
    farm_of,
    prepare_steering,
    resolved_guard,
    steering_controller,
)
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.manifests import DatasetManifest, read_dataset_manifest
from dmix.warehouse_schema.files.names import plain_name, refuse_links
from dmix.warehouse_schema.settings import load_settings, setting, settings_from, whole_number
from dmix.warehouse_schema.sizes import num_text

# Starts the paths of `config.yaml` that are relative to the warehouse.
_IN_WAREHOUSE = "warehouse:"


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """A run with every choice made: the content of `config.yaml`."""

    run_id: str = setting(help="Name of the run.")
    kind: str = setting(help="guided, baseline or base.")
    dataset: str = setting(help="Id of the dataset.")
    model: str = setting(help="Model file, checkpoint folder or hub id.")
    model_file: dict[str, Any] | None = setting(None, help="Content of the model file.")
    controller: str = setting(help="Controller as the user named it.")
    environment: dict[str, Any] | None = setting(None, help="Content of the environment file.")
    steps: int = setting(help="M: number of steps.")
    step_samples: int = setting(help="R: samples per step.", most=2**50)
    batch_size: int = setting(help="B: samples per batch.")
    exhaustion: str = setting(help="Rule for exhausted domains.")
    max_passes: int = setting(help="Passes through each domain under repeat.", most=2**50)
    seed: int = setting(help="Seed of the sample order.")
    training: TrainingSettings = field(metadata={"help": "Training settings."})
    guard: str = setting("", help="Set and quantile of the guard rails; empty means none.")
    shadow: str = setting("", help="Controller in shadow mode; empty means none.")
    shuffle_block: int = setting(8, help="Shards of a domain whose samples are shuffled together.")
    promise: dict[str, Any] | None = setting(
        None, help="Mixture and predicted gains of the run's plan; null for other controllers."
    )
    allow_other_tokenizer: bool = setting(
        False, help="Whether the model may have another tokenizer than the dataset."
    )
    gradients_every: int = setting(0, help="Steps between measurements by gradients; 0 means none.")
    name: str = setting("", help="Name of the trained model in the warehouse; base models only.")

    @property
    def plan(self) -> PlanSettings:
        return PlanSettings(
            step_samples=self.step_samples,
            batch_size=self.batch_size,
            seed=self.seed,
            exhaustion=self.exhaustion,
            max_passes=self.max_passes,
            shuffle_block=self.shuffle_block,
        )

    def result(self, warehouse: Warehouse) -> Path:
        """Folder of the trained model."""
        return warehouse.model(self.name) if self.name else warehouse.run(self.run_id) / "model"


def make_config(
    warehouse: Warehouse,
    request: RunRequest,
    *,
    model: str,
    controller: str,
    training: TrainingSettings,
    environment: Path | None = None,
    dataset: str | None = None,
    run_id: str | None = None,
) -> RunConfig:
    """The resolved configuration of a guided run or a baseline; nothing is written.

    Args:
        warehouse: Where dataset, models and agents are.
        request: Sizes and rules.
        model: As the user named it.
        controller: `agent:NAME`, `natural`, …; see `dmix.mixing.controllers`.
        training: Content of the training file.
        environment: Environment file; agents need one.
        dataset: Id or name; may be left out when there is one.
        run_id: Name of the run; made from time and chance if left out.

    Raises:
        InputError: If something does not fit the dataset.
        NotFoundError: If something that is named does not exist.
    """
    manifest = read_dataset_manifest(warehouse, dataset)
    space = DomainSpace.of_dataset(manifest)
    batch = training.batch_size if request.batch_size is None else request.batch_size
    guided = is_agent(controller)
    shadow = absolute_spec(request.shadow or "")
    if (guided or is_agent(shadow)) and environment is None:
        raise InputError("an agent needs scores; give the environment file with --environment")
    _check_gradients(request, controller, training)
    resolved = resolve_model(model, warehouse)
    check_model_tokenizer(warehouse, manifest, resolved, allow_other=request.allow_other_tokenizer)
    controller = absolute_spec(controller)
    config = RunConfig(
        run_id=new_run_id() if run_id is None else run_id,
        kind="guided" if guided else "baseline",
        dataset=manifest.dataset,
        model=resolved,
        model_file=model_file_content(resolved),
        controller=controller,
        environment=environment_content(warehouse, environment, controller),
        steps=request.steps,
        step_samples=_step_samples(request.samples_per_step, space, steps=request.steps, batch_size=batch),
        batch_size=batch,
        exhaustion=request.exhaustion,
        max_passes=request.max_passes,
        guard=resolved_guard(request.guard, controller=controller, warehouse=warehouse, space=space),
        shadow=shadow,
        shuffle_block=request.shuffle_block,
        allow_other_tokenizer=request.allow_other_tokenizer,
        gradients_every=request.gradients_every,
        seed=manifest.seed if request.seed is None else request.seed,
        training=with_rate(dataclasses.replace(training, batch_size=batch), resolved),
    )
    warehouse.run(config.run_id)  # a name that cannot be a folder is refused here
    check_settings(config.plan, streams=StreamSizes.of_manifest(manifest))
    config = with_effects(warehouse, with_promise(warehouse, config, space), space)
    check_controllers(warehouse, config, space)  # so is one that does not fit
    _check_effects(warehouse, config, space)
    return config


def _check_gradients(request: RunRequest, controller: str, training: TrainingSettings) -> None:
    if not request.gradients_every:
        return
    if controller.partition(":")[0] != "effect":
        raise InputError(
            "--gradients-every is for the effect agent; name it with --agent effect, or leave the flag out"
        )
    if training.sharding != "none":
        raise InputError(
            "--gradients-every needs the whole weights on the first rank; set sharding: none in the training"
            " file, or leave the flag out"
        )


def is_agent(spec: str) -> bool:
    """Whether a controller decides by feedback as an agent: a trained one, or the effect agent."""
    return spec.partition(":")[0] in ("agent", "effect")


def with_effects(warehouse: Warehouse, config: RunConfig, space: DomainSpace) -> RunConfig:
    """The configuration with the effects of an effect agent named; other ones are returned as they are.

    Raises:
        NotFoundError: If there are no effects about these domains and objectives.
        InputError: If those that are named are about other domains.
    """
    kind, _, argument = config.controller.partition(":")
    if kind != "effect" or config.environment is None:
        return config
    environment = settings_from(Environment, config.environment, where="environment")
    name = effect.resolved_name(argument, warehouse=warehouse, space=space, environment=environment)
    return dataclasses.replace(config, controller=f"effect:{name}")


def with_promise(warehouse: Warehouse, config: RunConfig, space: DomainSpace) -> RunConfig:
    """The configuration with the plan of a run that asks for one; other ones are returned as they are.

    Raises:
        NotFoundError: If there are no effects to plan from.
        InputError: If they are of other domains or objectives.
    """
    kind, _, argument = config.controller.partition(":")
    if kind != "plan":
        return config
    limits = load_limits(config.guard, warehouse=warehouse, space=space) if config.guard else None
    environment = None
    if config.environment is not None:
        environment = settings_from(Environment, config.environment, where="environment")
    name, promise = plan_for_run(
        argument,
        warehouse=warehouse,
        space=space,
        environment=environment,
        supply=Supply(
            total=config.steps * config.step_samples,
            samples_N=space.samples_N,
            max_passes=config.max_passes if config.exhaustion == "repeat" else 1,
            floors_N=None if limits is None else limits.floors_N,
            ceilings_N=None if limits is None else limits.ceilings_N,
        ),
    )
    return dataclasses.replace(config, controller=f"plan:{name}", promise=promise)


def _check_effects(warehouse: Warehouse, config: RunConfig, space: DomainSpace) -> None:
    """Refuses effects that were measured for other objectives than the run's, also those in shadow."""
    if config.environment is None:
        return
    environment = settings_from(Environment, config.environment, where="environment")
    for spec in filter(None, (config.controller, config.shadow)):
        resolved = spec == config.controller and kind_of(spec).name in ("effect", "plan")
        if kind_of(spec).of_effects and not resolved:  # those were found by their objectives
            stored = fitting_effects(warehouse, space, name=spec.partition(":")[2] or None)
            check_objectives(stored, environment)


def check_model_tokenizer(
    warehouse: Warehouse, manifest: DatasetManifest, model: str, *, allow_other: bool = False
) -> None:
    """Refuses a checkpoint whose own tokenizer is not the dataset's, before anything is written.

    Raises:
        InputError: If the two differ and `allow_other` is False.
    """
    if Path(model).suffix in (".yaml", ".yml"):
        return
    file = warehouse.stream(manifest.dataset) / "tokenizer.json"
    check_tokenizer(model, manifest, tokenizer_file=file, allow_other=allow_other)


def read_config(warehouse: Warehouse, run_id: str) -> RunConfig:
    """The configuration that a run was started with, with paths in the warehouse's present folder.

    A run goes by the name of its folder, so that a copied or renamed one never writes into the original.
    That of a base model makes the model of its new name, or keeps it in its own folder if the name is not
    that of such a run.

    Raises:
        NotFoundError: If there is no such run.
        InputError: If the file is damaged.
    """
    file = run_config_file(warehouse, run_id)
    config = load_settings(RunConfig, file)
    _check_ranges(config, where=str(file))
    name = config.name
    if name and config.run_id != run_id:
        name = run_id.removeprefix(BASE_RUN) if run_id.startswith(BASE_RUN) else ""
    return dataclasses.replace(
        config,
        run_id=run_id,
        name=name,
        model=_unlinked(_in_this_warehouse(config.model, warehouse, run_id), warehouse),
        controller=_in_this_warehouse(config.controller, warehouse, run_id),
        shadow=_in_this_warehouse(config.shadow, warehouse, run_id),
    )


def _check_ranges(config: RunConfig, *, where: str) -> None:
    """Holds a stored configuration to what a new run is checked by.

    Raises:
        InputError: If a number is out of the range of its flag, or no multiple of the batch.
    """
    names = ("steps", "batch_size", "exhaustion", "max_passes", "shuffle_block", "gradients_every", "seed")
    asked = {name: getattr(config, name) for name in names}
    try:
        settings_from(RunRequest, asked, where="the configuration")
        whole_number(config.step_samples, name="step_samples", most=2**50)
        check_settings(config.plan)
    except InputError as error:
        raise InputError(f"{where}: {error.message}; restore the file from a copy") from None


def config_to_yaml(config: RunConfig, warehouse: Warehouse) -> str:
    """The text of `config.yaml`; `read_config` gives an equal configuration.

    What lies in the warehouse is written relative to it, so that the run of a copied or moved
    warehouse reads its own.
    """
    values = dataclasses.asdict(config)
    for name in ("model", "controller", "shadow"):
        kind, path = _kind_and_path(values[name])
        if path.startswith(f"{warehouse.root}/"):
            values[name] = kind + _IN_WAREHOUSE + path.removeprefix(f"{warehouse.root}/")
    text: str = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
    return text


def _unlinked(model: str, warehouse: Warehouse) -> str:
    """The model; links out of it are refused where it is in the warehouse, which may be a stranger's."""
    if Path(model).is_relative_to(warehouse.root) and Path(model).is_dir():
        refuse_links(Path(model), inside=Path(model))
    return model


def _in_this_warehouse(value: str, warehouse: Warehouse, run_id: str) -> str:
    """A model or controller as written in `config.yaml`, with its path in this warehouse.

    Older files have absolute paths. One of the warehouse that this one was copied or moved from, which is
    known by the run itself, means the file of the same place in this one.
    """
    kind, path = _kind_and_path(value)
    if path.startswith(_IN_WAREHOUSE):
        inner = path.removeprefix(_IN_WAREHOUSE)
        for part in inner.split("/"):
            if part in ("", ".."):
                plain_name(part, what="path", where=f"config.yaml of run {run_id}")
        return f"{kind}{warehouse.root}/{inner}"
    if not path.startswith("/") or path.startswith(f"{warehouse.root}/"):
        return value
    absolute = Path(path)
    for root in absolute.parents:
        here = warehouse.root / absolute.relative_to(root)
        # not every path that is gone was of a warehouse: its last two folders decide
        of_original = (root / "runs" / run_id).is_dir() or not absolute.exists()
        if len(absolute.relative_to(root).parts) > 1 and of_original and here.exists():
            return f"{kind}{here}"
    return value


def _kind_and_path(value: str) -> tuple[str, str]:
    """What stands before the path that a model or controller names (`static:`), and the rest."""
    match = re.fullmatch(rf"((?!{_IN_WAREHOUSE})[a-z-]+:)?((?:{_IN_WAREHOUSE}|/).*)", value, re.DOTALL)
    return ("", value) if match is None else (match[1] or "", match[2])


def check_controllers(warehouse: Warehouse, config: RunConfig, space: DomainSpace) -> None:
    """Raises what `controller_of` would refuse once it is prepared; neither fits nor writes."""
    if config.kind != "base":
        spec = "" if config.promise is not None else config.controller
        check_steering(spec, guard=config.guard, shadow=config.shadow, warehouse=warehouse, space=space)


def prepare_controllers(
    warehouse: Warehouse, config: RunConfig, space: DomainSpace, *, progress: Callable[[str], None]
) -> None:
    """Fits and keeps what the controllers of a run need; the first rank calls it, once."""
    if config.kind != "base":
        spec = "" if config.promise is not None else config.controller
        prepare_steering(spec, shadow=config.shadow, warehouse=warehouse, space=space, progress=progress)


def controller_of(warehouse: Warehouse, config: RunConfig, space: DomainSpace) -> Controller:
    """What steers a run, guard rails and shadow included.

    Raises:
        InputError: If something does not fit the domain space.
        NotFoundError: If something that is named does not exist, or is not prepared.
    """
    if config.kind == "base":
        return fixed.source()
    return steering_controller(
        config.controller,
        guard=config.guard,
        shadow=config.shadow,
        warehouse=warehouse,
        space=space,
        promise=config.promise,
    )


def describe(config: RunConfig, manifest: DatasetManifest) -> str:
    """One line with what the run will take: R, M, tokens and the coverage to expect."""
    coverage = expected_passes(config, manifest)
    tokens = config.steps * config.step_samples * manifest.seq_len
    expected = (
        f"{coverage.source:.1f} passes through the source"
        if config.kind == "base"
        else f"natural mixing would make {coverage.target:.2f} passes through the target and "
        f"{coverage.source:.2f} through the source"
    )
    guard = f"; guard rails from the set {config.guard}" if config.guard else ""
    shadow = f"; {config.shadow} in shadow" if config.shadow else ""
    warning = rate_warning(config.training, config.model)
    warning = f"; note: {warning}" if warning else ""
    promise = ""
    if config.promise is not None:
        gain, error = config.promise["utility"], config.promise["utility_stderr"]
        promise = (
            f"; the plan predicts a gain of {gain:+.3f} in utility (standard error {error:.3f}): "
            + str(config.promise["note"])
        )
    gradients = ""
    if config.gradients_every:
        times = -(-config.steps // config.gradients_every)
        read = times * config.step_samples * manifest.seq_len
        gradients = f"; gradients before {times} of the steps, over {num_text(read, 'token')} in all"
    samples = num_text(config.step_samples, "sample")
    return (
        f"run {config.run_id}: {num_text(config.steps, 'step')} of {samples} in batches of"
        f" {config.batch_size}, at most {num_text(tokens, 'token')}; "
        f"{expected}{guard}{shadow}{gradients}{promise}"
        f"{warning}{_too_short(config, manifest)}"
    )


def _too_short(config: RunConfig, manifest: DatasetManifest) -> str:
    """A note where natural mixing would give most target domains less than one sample; empty otherwise.

    Whole samples are drawn, so little of such a field is read, whatever its share. `dmix init` says the same
    beforehand, of text whose domains are not known yet.
    """
    if config.kind == "base":
        return ""
    space = DomainSpace.of_dataset(manifest)
    target_N = space.target_N & (space.natural_N > 0)
    least = smallest_share(config.steps * config.step_samples)
    rare = int((space.natural_N[target_N] < least).sum())
    if 2 * rare <= int(target_N.sum()):
        return ""
    return (
        f"; note: with {num_text(config.steps * config.step_samples, 'sample')} in all, natural mixing "
        f"would give {rare} of {num_text(int(target_N.sum()), 'target domain')} less than one sample each, "
        "so little target text would be read; raise --samples-per-step or --steps, or use fewer domains"
    )


def expected_passes(config: RunConfig, manifest: DatasetManifest) -> FieldPasses:
    """Passes over each field: of a base model, and of other runs under natural mixing."""
    space = DomainSpace.of_dataset(manifest)
    mixture_N = space.start_N if config.kind == "base" else space.natural_N
    return expected_coverage(space, steps=config.steps, step_samples=config.step_samples, mixture_N=mixture_N)


def new_run_id() -> str:
    """A name that sorts by time and is not taken."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{token_hex(2)}"


def _step_samples(asked: int | str, space: DomainSpace, *, steps: int, batch_size: int) -> int:
    if asked == "auto":
        return auto_step_samples(space, steps, batch_size)
    return whole_number(asked, name="--samples-per-step")


def model_file_content(model: str) -> dict[str, Any] | None:
    """The content of a model file, checked; None for a checkpoint."""
    if Path(model).suffix not in (".yaml", ".yml"):
        return None
    return dataclasses.asdict(load_settings(ModelSettings, model))


def environment_content(warehouse: Warehouse, path: Path | None, controller: str) -> dict[str, Any] | None:
    """The environment as `config.yaml` holds it: scales of the agent's farm where the file gives none."""
    if path is None:
        return None
    environment = load_environment(path)
    check_items(environment)
    farm = _farm_environment(warehouse, controller)
    if farm is not None:
        known = {name: scale for name, scale in farm.scales.items() if name in environment.names}
        environment = dataclasses.replace(environment, scales={**known, **environment.scales})
    return environment_to_json(environment)


def _farm_environment(warehouse: Warehouse, controller: str) -> Environment | None:
    """The environment of the set that an agent was trained on; None for other controllers."""
    set_name = farm_of(controller, warehouse=warehouse)
    path = warehouse.feedback(set_name) / "environment.yaml" if set_name else None
    return load_environment(path) if path is not None and path.is_file() else None
