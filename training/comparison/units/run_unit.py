"""Runs one unit: trains through the loop of every other run, then scores all layers of items.

A worker process imports torch and Composer once and runs many units; what they share (dataset,
encoded items, scores of the base models) is kept between them. Shapes: T steps, D objectives of the
feedback layer, N (field, domain) pairs, I items.
"""

import functools
import hashlib
import json
import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from dmix.mixing.agent.folders import agent_folder
from dmix.mixing.controllers import Controller
from dmix.mixing.controllers.fixed import constant
from dmix.mixing.controllers.registry import make_controller, prepare_controller
from dmix.mixing.controllers.replay import ReplayController
from dmix.mixing.delivery.step_plan import PlanSettings
from dmix.mixing.effects.store import read_effects
from dmix.mixing.space.domains import DomainSpace, Vector
from dmix.mixing.trajectories.encoding import load_tokenizer_file
from dmix.mixing.trajectories.feedback import write_feedback
from dmix.mixing.trajectories.objectives import Environment, load_environment
from dmix.mixing.trajectories.store import read_set, read_trajectory, trajectory_file
from dmix.training.comparison.data.prepare import RUN_DATASET, base_name, run_training
from dmix.training.comparison.data.settings import LoadedSetting
from dmix.training.comparison.data.study_paths import FARM, PAPER, StudyPaths
from dmix.training.comparison.effects.design import HEARD, PROBES, TRIALS, mixture_of, probe_steps
from dmix.training.comparison.effects.rungs import pulled_mixture, rung_mixture
from dmix.training.comparison.effects.world_plans import COUNTS, NATURAL, gradients_of, world_controller
from dmix.training.comparison.rivals.cells import listening_controller
from dmix.training.comparison.rivals.plans import read_plans
from dmix.training.comparison.units.recipes import world_priors
from dmix.training.comparison.units.units import Unit
from dmix.training.farm.variations import varied_mixtures, varied_proxy
from dmix.training.model.models import load_model
from dmix.training.model.settings import ModelSettings, ProxySettings
from dmix.training.run.assembly.job import TrainingJob
from dmix.training.run.assembly.result import OPTIMIZER_FILE
from dmix.training.run.run import train
from dmix.training.run.summary import RunSummary
from dmix.training.scoring.environment import Scorer
from dmix.warehouse_schema.errors import NotFoundError, TrainingError
from dmix.warehouse_schema.files.layout import Warehouse, read_json
from dmix.warehouse_schema.files.manifests import DatasetManifest, read_dataset_manifest
from dmix.warehouse_schema.settings import settings_from
from dmix.warehouse_schema.sizes import num_text

logger = logging.getLogger(__name__)

CELL_PARTS = ("cell", "online")
"""Parts of runs of cells that listen: those that judge, and the trial of online rivals."""


@dataclass(frozen=True, kw_only=True)
class UnitResult:
    """What a run came to.

    Attributes:
        facts: Values of columns of the table `runs`.
        steps: Rows of `steps`, without utility, which waits for the scales of the whole farm.
        items: Rows of `items`.
    """

    facts: dict[str, Any] = field(default_factory=dict)
    steps: list[dict[str, Any]] = field(default_factory=list)
    items: list[dict[str, Any]] = field(default_factory=list)


def run_unit(unit: Unit, paths: StudyPaths, loaded: LoadedSetting) -> UnitResult:
    """Trains and scores one run; farm runs leave their feedback in the warehouse.

    Raises:
        DmixError: If the controller cannot be made, or training fails.
    """
    warehouse, settings = paths.warehouse, loaded.settings
    manifest = _manifest(warehouse)
    space = DomainSpace.of_dataset(manifest)
    mixture_N, training = _constant_mixture(unit, loaded, paths, space), run_training(loaded)
    if mixture_N is not None:
        controller: Controller = constant(mixture_N, name=unit.controller)
    else:
        controller = _controller(unit, loaded, paths, space)
    scratch_proxy, steps = unit.part == "paper", settings.steps
    if unit.part in PROBES:
        steps = probe_steps(settings)
    training = varied_proxy(ProxySettings(training=training), unit.variation).training
    with tempfile.TemporaryDirectory(prefix="dmix-unit-") as scratch:
        result = Path(scratch, "model")
        job = TrainingJob(
            run_id=unit.unit_id,
            kind="baseline",
            streams=warehouse.stream(manifest.dataset),
            streams_url=warehouse.stream_url(manifest.dataset),
            manifest=manifest,
            model=_scratch(loaded) if scratch_proxy else str(warehouse.model(base_name(unit.base))),
            controller=controller,
            plan=PlanSettings(
                step_samples=settings.samples_per_step,
                batch_size=training.batch_size,
                seed=unit.seed,
                exhaustion=settings.exhaustion,
                max_passes=settings.max_passes,
            ),
            steps=steps,
            training=replace(training, seed=unit.seed),
            # mixtures that listen to nothing are scored at their end alone
            environment=None if mixture_N is not None else feedback_environment(paths, set_name=set_of(unit)),
            optimizer=None if scratch_proxy else warehouse.model(base_name(unit.base)) / OPTIMIZER_FILE,
            result=result,
            keep_checkpoints=False,
        )
        summary = train(job, folder=Path(scratch, "run"), progress=logger.debug)
        if summary.steps < steps:
            raise TrainingError(
                f"the run had too little text and ended after {summary.steps} of {num_text(steps, 'step')}; "
                "in the setting, lower samples_per_step, or raise supplies or max_passes"
            )
        # what is learnt from sees what controllers see, and nothing that judges
        layers = settings.layers[:1] if unit.part in HEARD else settings.layers
        items = _item_rows(paths, result, unit.base, layers=layers)
    if unit.trajectory:
        write_feedback(
            warehouse,
            set_name=set_of(unit),
            trajectory_id=unit.trajectory,
            objectives=summary.objectives,
            scores_TD=summary.feedback_TD,
            variation=unit.variation,
            planned_TN=np.vstack([space.start_N, summary.planned_TN]),
        )
    facts = _facts(summary, manifest, settings.samples_per_step)
    facts["provenance"] = json.dumps(_provenance(unit, warehouse, manifest), sort_keys=True)
    return UnitResult(facts=facts, steps=_steps(summary), items=items)


def _controller(unit: Unit, loaded: LoadedSetting, paths: StudyPaths, space: DomainSpace) -> Controller:
    """The controller of a run that has no mixture of its own, prepared if need be.

    A varied proxy may miss some domains of its trajectory.
    """
    warehouse = paths.warehouse
    if unit.part == "world":
        return world_controller(
            unit.spec.partition(":")[2],
            loaded.settings,
            space,
            counts=read_effects(warehouse, COUNTS),
            gradients=read_effects(warehouse, gradients_of(base_name(unit.base))),
            priors=world_priors(loaded),
            weights_D=feedback_environment(paths).weights_D,
        )
    if unit.part in CELL_PARTS:
        return listening_controller(unit.controller, warehouse=warehouse, space=space)
    if not unit.variation:
        prepare_controller(unit.spec, warehouse=warehouse, space=space, progress=logger.info)
        return make_controller(unit.spec, warehouse=warehouse, space=space)
    path = trajectory_file(warehouse.trajectories(FARM), unit.trajectory)
    varied_TN = varied_mixtures(
        read_trajectory(path).mixtures_TN,
        unit.variation,
        trajectory_id=unit.trajectory,
        seed=read_set(warehouse, FARM).settings["seed"],
        space=space,
    )
    return ReplayController(varied_TN)


def _constant_mixture(
    unit: Unit, loaded: LoadedSetting, paths: StudyPaths, space: DomainSpace
) -> Vector | None:
    """The mixture of a run that listens to nothing; None for all others.

    Raises:
        NotFoundError: If the plans of the cells are not made.
        InputError: If those of the rungs are not.
    """
    argument = unit.spec.partition(":")[2]
    if unit.part in TRIALS:
        return mixture_of(unit.spec, loaded.settings, space)
    if unit.part == "check" and argument != NATURAL:
        counts, weights_D = read_effects(paths.warehouse, COUNTS), feedback_environment(paths).weights_D
        return pulled_mixture(float(argument), loaded.settings, space, counts=counts, weights_D=weights_D)
    if unit.part == "check":
        return space.natural_N
    if unit.part == "rung":
        return rung_mixture(paths.results, argument)
    if unit.part == "cell":
        plans = read_plans(paths)
        if plans is None:
            raise NotFoundError(f"{paths.results} has no plans of cells; run --stage confirmation")
        return plans.mixture_N(unit.controller, unit.base)
    return None


def set_of(unit: Unit) -> str:
    """The set whose trajectory a unit follows; the farm for controllers."""
    return PAPER if unit.part == "paper" else FARM


def _scratch(loaded: LoadedSetting) -> ModelSettings:
    """The model of every run, with random weights."""
    model = {**loaded.model, "seed": loaded.settings.seed}
    return settings_from(ModelSettings, model, where=loaded.settings.model)


def feedback_environment(paths: StudyPaths, *, set_name: str = FARM) -> Environment:
    """What controllers see: the feedback layer, with the set's scales once they are published."""
    published = paths.warehouse.feedback(set_name) / "environment.yaml"
    environment = load_environment(paths.environment("feedback"))
    plans = read_plans(paths)
    if plans is not None:  # of a confirmation: refused objectives have no weight
        objectives = tuple(replace(o, weight=plans.weights[o.name]) for o in environment.objectives)
        return replace(environment, objectives=objectives, scales=plans.scales)
    if paths.scales.is_file():  # of a world
        return replace(environment, scales=read_json(paths.scales))
    scales = load_environment(published).scales if published.is_file() else {}
    return replace(environment, scales=scales)


def _facts(summary: RunSummary, manifest: DatasetManifest, step_samples: int) -> dict[str, Any]:
    target_samples = int(summary.samples_N[summary.target_N].sum())
    source_samples = int(summary.samples_N.sum()) - target_samples
    return {
        "steps": summary.steps,
        "step_samples": step_samples,
        "seq_len": manifest.seq_len,
        "source_samples": source_samples,
        "target_samples": target_samples,
        "source_tokens": source_samples * manifest.seq_len,
        "target_tokens": target_samples * manifest.seq_len,
        "base_scores": summary.feedback_TD[0].tolist(),
    }


def _provenance(unit: Unit, warehouse: Warehouse, manifest: DatasetManifest) -> dict[str, str]:
    """Hashes of what the run was made of; another machine may come to others from the same recipe."""
    found = {"dataset": manifest.dataset, "base": _file_hash(_weights(warehouse.model(base_name(unit.base))))}
    if unit.spec.startswith("agent:"):
        found["agent"] = _file_hash(_weights(agent_folder(warehouse, unit.spec.partition(":")[2])))
    return found


def _weights(folder: Path) -> Path:
    return folder / "model.safetensors"


@functools.cache
def _file_hash(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _steps(summary: RunSummary) -> list[dict[str, Any]]:
    return [
        {
            "step": step,
            "mixture": mixture_N.tolist(),
            "target_share": float(mixture_N[summary.target_N].sum()),
            "scores": scores_D.tolist(),
        }
        for step, (mixture_N, scores_D) in enumerate(
            zip(summary.planned_TN, summary.feedback_TD[1:], strict=True), start=1
        )
    ]


def _item_rows(paths: StudyPaths, model: Path, base: int, *, layers: Sequence[str]) -> list[dict[str, Any]]:
    """Scores of the trained model on every item of every layer, beside those of its base model."""
    flagged = _flagged(paths)
    rows = []
    for layer in layers:
        scorer = _scorer(paths, layer, base)
        columns = zip(
            scorer.item_objectives,
            scorer.item_ids,
            _scores(paths, str(model), layer, base),
            _base_scores(paths, base, layer),
            strict=True,
        )
        rows += [
            {
                "layer": layer,
                "objective": objective,
                "item_id": item,
                "near_duplicate": f"{layer}/{objective}/{item}" in flagged,
                "score": score,
                "base_score": base_score,
            }
            for objective, item, score, base_score in columns
        ]
    return rows


def _scores(paths: StudyPaths, model: str, layer: str, base: int) -> list[float]:
    network = load_model(model, _manifest(paths.warehouse))
    scores: list[float] = _scorer(paths, layer, base).item_scores(network).tolist()
    return scores


@functools.cache
def _manifest(warehouse: Warehouse) -> DatasetManifest:
    return read_dataset_manifest(warehouse, RUN_DATASET)


@functools.cache
def _scorer(paths: StudyPaths, layer: str, base: int) -> Scorer:
    manifest = _manifest(paths.warehouse)
    model = load_model(str(paths.warehouse.model(base_name(base))), manifest)
    return Scorer(
        load_environment(paths.environment(layer)),
        tokenizer=load_tokenizer_file(
            paths.warehouse.stream(manifest.dataset) / "tokenizer.json", manifest.tokenizer
        ),
        tokenizer_file=manifest.tokenizer,
        max_length=model.max_length,
    )


@functools.cache
def _base_scores(paths: StudyPaths, base: int, layer: str) -> list[float]:
    return _scores(paths, str(paths.warehouse.model(base_name(base))), layer, base)


@functools.cache
def _flagged(paths: StudyPaths) -> frozenset[str]:
    return frozenset(read_json(paths.near_duplicates)["flagged"])
