"""Which text helps what, and a mixture from it: what `dmix mix probe` and `dmix mix plan` do."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse, checked_name, publish_bytes
from dmix.warehouse_schema.files.manifests import DatasetManifest, digest_of, read_dataset_manifest

if TYPE_CHECKING:
    from dmix.mixing.effects.counting import CountTask, RunTasks
    from dmix.mixing.effects.ngrams import NgramCounts, Wanted
    from dmix.mixing.effects.plan import Plan
    from dmix.mixing.effects.settings import PlanRules
    from dmix.mixing.effects.store import StoredEffects
    from dmix.mixing.space.domains import DomainSpace
    from dmix.mixing.trajectories.objectives import Environment
    from dmix.training.model.language_model import LanguageModel
    from dmix.training.model.settings import ModelSettings

Progress = Callable[[str], None]

# Scored tokens of an item beyond which the rest of it is left out.
ITEM_TOKENS = 1024


def probe_counts(
    warehouse: Warehouse,
    *,
    environment: Path,
    dataset: str | None = None,
    model: str | None = None,
    name: str | None = None,
    master: str | None = None,
    progress: Progress,
) -> "StoredEffects":
    """Effects by counts: one pass over the shards, no training.

    Relative to a model, where one is named: what a domain knows that the model does not. That takes one
    pass of the model over the items.

    Args:
        warehouse: Where the dataset is and the effects go.
        environment: Environment file.
        dataset: Id or name; may be left out when there is one.
        model: Model file, checkpoint folder, model of the warehouse, or hub id; counts alone when left out.
        name: Name of the effects; made of the estimator and what was measured when left out.
        master: Spark master that counts; None counts in this process.
        progress: Receives lines for people.

    Raises:
        InputError: If other effects have the name.
    """
    from dmix.mixing.effects.counting import count_model, in_threads
    from dmix.mixing.effects.counts import ScoredTokens, count_effects, relative_to
    from dmix.mixing.effects.store import StoredEffects, environment_digest, write_effects
    from dmix.mixing.space.domains import DomainSpace
    from dmix.mixing.trajectories.encoding import encode_item, load_tokenizer_file
    from dmix.mixing.trajectories.objectives import load_environment, read_items

    manifest = read_dataset_manifest(warehouse.require(), dataset)
    objectives = load_environment(environment)
    digest = environment_digest(objectives)
    measured_on, key = "", digest
    if model is not None:
        from dmix.training.run.request import resolve_model

        resolved = resolve_model(model, warehouse)
        measured_on = Path(resolved).name if Path(resolved).exists() else resolved
        key = digest_of([digest, measured_on, model_digest(resolved)])
    name = effects_name("counts", manifest, key, name)
    stored = stored_already(warehouse, name, dataset=manifest.dataset, environment=digest, estimator="counts")
    if stored is not None:
        progress(f"effects {name} are there already; nothing to do")
        return stored
    tokenizer = load_tokenizer_file(warehouse.stream(manifest.dataset) / "tokenizer.json")
    reader = None if model is None else _reader(warehouse, manifest, model)
    longest = ITEM_TOKENS if reader is None else min(ITEM_TOKENS, reader.max_length)
    items = [
        [
            encode_item(item, tokenizer=tokenizer, eot_id=manifest.tokenizer.eot_id, max_length=longest)
            for item in read_items(objective, objectives.folder)
        ]
        for objective in objectives.objectives
    ]
    tokens = ScoredTokens.of_items(items)
    space = DomainSpace.of_dataset(manifest)
    progress(
        f"{len(tokens.token_R):,} scored tokens of {sum(map(len, items)):,} items; counting their bigrams in"
        f" {sum(s.tokens for s in manifest.streams):,} tokens of {int(space.active_N.sum())} domains"
    )
    run = in_threads if master is None else spark_tasks(master)
    counted = count_model(warehouse, manifest, tokens, run=run)
    if reader is not None:
        from dmix.training.scoring.token_probabilities import token_probabilities

        counted = relative_to(counted, token_probabilities(reader, [item for of in items for item in of]))
    effects = count_effects(
        counted,
        space.natural_N,
        dataset=manifest.dataset,
        environment=digest,
        names=space.names,
        objectives=objectives.names,
        roles=objectives.roles,
        measured_on=measured_on,
        name=name,
    )
    stored = StoredEffects(
        effects=effects,
        counts=counted,
        environment=objectives,
        facts={"items": [len(found) for found in items], "scored_tokens": len(tokens.token_R)},
    )
    write_effects(warehouse, stored)
    return stored


def model_digest(model: "str | ModelSettings") -> str:
    """Hash of what a model starts from: its weights, its settings, or the name of a hub id."""
    if not isinstance(model, str):
        return digest_of(repr(model))[:16]
    place = Path(model)
    files = [place] if place.is_file() else sorted(place.glob("*.safetensors")) if place.is_dir() else []
    if not files:
        return digest_of(model)[:16]
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            while chunk := file.read(1 << 24):
                digest.update(chunk)
    return digest.hexdigest()[:16]


def _reader(warehouse: Warehouse, manifest: DatasetManifest, model: str) -> "LanguageModel":
    """The model that counts are taken relative to."""
    from dmix.training.model.models import load_model
    from dmix.training.run.request import resolve_model

    return load_model(resolve_model(model, warehouse), manifest).eval()


def spark_tasks(master: str) -> "RunTasks":
    """Runs count tasks on Spark: one pass over the data, one task for each group of shards."""

    def run(count: "Callable[[CountTask], NgramCounts]", tasks: "Sequence[CountTask]") -> "list[NgramCounts]":
        from functools import partial

        from dmix.etl.spark.session import spark_session
        from dmix.etl.spark.tasks import run_tasks
        from dmix.mixing.effects.counting import counts_from_text

        wanted = count.keywords["wanted"]  # type: ignore[attr-defined]
        spark = spark_session(master=master, app="dmix mix probe")
        return [counts_from_text(text) for text in run_tasks(spark, partial(_counted, wanted=wanted), tasks)]

    return run


def _counted(task: "CountTask", *, wanted: "Wanted") -> str:
    """The counts of a task as text, which is what Spark's tasks can return."""
    from dmix.mixing.effects.counting import count_files, counts_to_text

    return counts_to_text(count_files(task, wanted=wanted))


def effects_name(estimator: str, manifest: DatasetManifest, environment: str, name: str | None) -> str:
    """The name that a user gave, or one that says what was measured."""
    if name is not None:
        return checked_name("effects", name)
    return f"{estimator}-{digest_of([manifest.dataset, environment])[:8]}"


def stored_already(
    warehouse: Warehouse, name: str, *, dataset: str, environment: str, estimator: str
) -> "StoredEffects | None":
    """The effects of a name, if they answer this question; None if there are none.

    Raises:
        InputError: If effects of that name answer another one.
    """
    from dmix.mixing.effects.store import MANIFEST, read_effects

    if not (warehouse.effects(name) / MANIFEST).is_file():
        return None
    stored = read_effects(warehouse, name)
    found = stored.effects
    if (found.dataset, found.environment, found.estimator) != (dataset, environment, estimator):
        raise InputError(
            f"effects {name!r} are {found.estimator} of dataset {found.dataset} and other objectives; choose"
            f" another --name, or remove {warehouse.effects(name)}"
        )
    return stored


@dataclass(frozen=True, kw_only=True, eq=False)
class PlannedMixture:
    """A plan with what it was made for.

    Attributes:
        plan: The plan.
        manifest: Its dataset.
        space: Its domain space.
        total: Samples of the run.
        scales: Scale of each objective in nats per token, by name.
        scales_from: Where they come from, a few words.
        objectives: The environment whose weights count.
        max_passes: How often the run may draw a sample.
        checked: What check runs said; empty if there were none.
    """

    plan: "Plan"
    manifest: DatasetManifest
    space: "DomainSpace"
    total: int
    scales: dict[str, float]
    scales_from: str
    objectives: "Environment"
    max_passes: int
    checked: str = ""


def plan_mixture(
    warehouse: Warehouse,
    *,
    probes: Sequence[str] = (),
    dataset: str | None = None,
    environment: Path | None = None,
    samples: int | None = None,
    max_passes: int = 4,
    rules: "PlanRules | None" = None,
) -> PlannedMixture:
    """The mixture that stored effects promise most of; nothing is written.

    Args:
        warehouse: Where the effects are.
        probes: Names of effects, at most one by counts and one measured on a model; the newest of the
            dataset when left out.
        dataset: Id or name; that of the effects, or the only one, when left out.
        environment: Environment file whose weights and scales count; that of the effects when left out.
        samples: Samples that the run will draw; as many as the dataset has when left out.
        max_passes: How often a sample may be drawn.
        rules: Pull and caution.

    Raises:
        NotFoundError: If there are no such effects.
        InputError: If effects, dataset and environment do not belong together.
    """
    from dmix.mixing.effects.plan import Supply, make_plan
    from dmix.mixing.effects.prediction import predict
    from dmix.mixing.effects.store import newest_effects, read_effects
    from dmix.mixing.space.domains import DomainSpace
    from dmix.mixing.trajectories.objectives import load_environment

    if probes:
        found = [read_effects(warehouse.require(), name) for name in probes]
        manifest = read_dataset_manifest(warehouse, dataset or found[0].effects.dataset)
    else:
        manifest = read_dataset_manifest(warehouse.require(), dataset)
        found = [newest_effects(warehouse, dataset=manifest.dataset)]
    space = DomainSpace.of_dataset(manifest)
    for stored in found:
        if stored.effects.dataset != manifest.dataset:
            raise InputError(
                f"effects {stored.name!r} are of dataset {stored.effects.dataset}, not of"
                f" {manifest.dataset}; run 'dmix mix probe --dataset {manifest.dataset}'"
            )
    objectives = found[0].environment if environment is None else load_environment(environment)
    if objectives.names != found[0].effects.objectives:
        raise InputError(
            f"the environment lists {', '.join(objectives.names)}, effects {found[0].name!r} are on"
            f" {', '.join(found[0].effects.objectives)}; give the environment file that they were measured on"
        )
    total = int(space.samples_N.sum()) if samples is None else samples
    if total < 1 or max_passes < 1:
        raise InputError(f"samples is {total} and max-passes {max_passes}, expected at least 1 of each")
    if total > max_passes * int(space.samples_N.sum()):
        raise InputError(
            f"the run draws {total:,} samples, the dataset gives {int(space.samples_N.sum()):,} in each of"
            f" {max_passes} passes; lower --samples or raise --max-passes"
        )
    counts = next((s.counts for s in found if s.counts is not None), None)
    plan = make_plan(
        predict([s.effects for s in found], counts),
        weights_D=objectives.weights_D,
        scales_D=objectives.scales_D,
        supply=Supply(total=total, samples_N=space.samples_N, max_passes=max_passes),
        rules=rules,
    )
    return PlannedMixture(
        plan=plan,
        manifest=manifest,
        space=space,
        total=total,
        scales=dict(zip(objectives.names, objectives.scales_D.tolist(), strict=True)),
        scales_from="the environment file" if objectives.scales else "none given, 1 nat each",
        objectives=objectives,
        max_passes=max_passes,
    )


def write_mixture(warehouse: Warehouse, planned: PlannedMixture, out: Path, *, form: str) -> Path:
    """Writes a plan as a file for dmix or another trainer (`dmix.cli.workflows.mixture_files`)."""
    from dmix.cli.workflows.mixture_files import mixture_file

    content = mixture_file(
        planned.plan.mixture_N,
        form=form,
        warehouse=warehouse,
        manifest=planned.manifest,
        passes_N=planned.plan.passes_N,
        header=promise_lines(planned),
    )
    publish_bytes(out.absolute(), content.encode())
    return out.absolute()


def promise_lines(planned: PlannedMixture) -> list[str]:
    """What a plan promises, in lines for people."""
    plan = planned.plan
    low, high = plan.interval
    lines = [
        f"Plan from effects {', '.join(plan.sources)} for {planned.total:,} samples of dataset"
        f" {planned.manifest.name or planned.manifest.dataset}.",
        plan.note,
        *([planned.checked] if planned.checked else []),
    ]
    lines += [
        f"{name}: {gain:+.3f} nats per token over natural mixing (95%: {gain - 1.96 * error:+.3f} to"
        f" {gain + 1.96 * error:+.3f})"
        for name, gain, error in zip(plan.objectives, plan.gain_D, plan.stderr_D, strict=True)
    ]
    lines.append(
        f"utility: {plan.utility:+.3f} (95%: {low:+.3f} to {high:+.3f}); scales: {planned.scales_from}"
    )
    return lines


def most_changed(planned: PlannedMixture) -> np.ndarray:
    """Indices of the domains with samples, the largest planned share first."""
    active = np.flatnonzero(planned.space.active_N)
    order: np.ndarray = active[np.argsort(-planned.plan.mixture_N[active], kind="stable")]
    return order
