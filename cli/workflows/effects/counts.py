"""Effects by counts of bigrams, in this process or on Spark."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dmix.cli.workflows.effects.names import effects_name, model_digest, stored_already
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.manifest_json import digest_of
from dmix.warehouse_schema.files.manifests import DatasetManifest, read_dataset_manifest
from dmix.warehouse_schema.progress import Progress
from dmix.warehouse_schema.sizes import num_text

if TYPE_CHECKING:
    from dmix.mixing.effects.counting import CountTask, RunTasks
    from dmix.mixing.effects.counts import CountModel
    from dmix.mixing.effects.ngrams import NgramCounts, Wanted
    from dmix.mixing.effects.store import StoredEffects
    from dmix.mixing.space.domains import DomainSpace
    from dmix.mixing.trajectories.encoding import EncodedItem
    from dmix.mixing.trajectories.objectives import Environment
    from dmix.training.model.language_model import LanguageModel

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
    from dmix.mixing.effects.counts import ScoredTokens, count_effects
    from dmix.mixing.effects.store import StoredEffects, environment_digest, write_effects
    from dmix.mixing.space.domains import DomainSpace
    from dmix.mixing.trajectories.objectives import load_environment

    manifest = read_dataset_manifest(warehouse.require(), dataset)
    objectives = load_environment(environment)
    digest = environment_digest(objectives)
    measured_on, key = ("", digest) if model is None else _model_key(warehouse, model, digest)
    name = effects_name("counts", manifest, key, name)
    stored = stored_already(
        warehouse,
        name,
        dataset=manifest.dataset,
        environment=digest,
        estimator="counts",
        progress=progress,
    )
    if stored is not None:
        return stored
    reader = None if model is None else _reader(warehouse, manifest, model)
    longest = ITEM_TOKENS if reader is None else min(ITEM_TOKENS, reader.max_length)
    items = _encoded(warehouse, manifest, objectives, longest=longest)
    tokens = ScoredTokens.of_items(items)
    space = DomainSpace.of_dataset(manifest)
    scored = f"{num_text(len(tokens.token_R), 'scored token')} of {num_text(sum(map(len, items)), 'item')}"
    progress(f"{scored}; counting their bigrams in {_text_size(manifest, space)}")
    run = in_threads if master is None else spark_tasks(master)
    counted = count_model(warehouse, manifest, tokens, run=run)
    if reader is not None:
        counted = _relative(counted, reader, items)
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


def _text_size(manifest: DatasetManifest, space: "DomainSpace") -> str:
    tokens = sum(stream.tokens for stream in manifest.streams)
    return f"{num_text(tokens, 'token')} of {num_text(int(space.active_N.sum()), 'domain')}"


def _relative(
    counted: "CountModel", reader: "LanguageModel", items: "Sequence[Sequence[EncodedItem]]"
) -> "CountModel":
    """Counts of what the model does not know, by one pass of it over the items of all objectives."""
    from dmix.mixing.effects.counts import relative_to
    from dmix.training.scoring.token_probabilities import token_probabilities

    return relative_to(counted, token_probabilities(reader, [item for of in items for item in of]))


def _model_key(warehouse: Warehouse, model: str, digest: str) -> tuple[str, str]:
    """The name of a model, and a hash of it and what it is measured on."""
    from dmix.training.run.request import resolve_model

    resolved = resolve_model(model, warehouse)
    name = Path(resolved).name if Path(resolved).exists() else resolved
    return name, digest_of([digest, name, model_digest(resolved)])


def _encoded(
    warehouse: Warehouse, manifest: DatasetManifest, objectives: "Environment", *, longest: int
) -> "list[list[EncodedItem]]":
    """The items of each objective, at most `longest` tokens of each."""
    from dmix.mixing.trajectories.encoding import encode_item, load_tokenizer_file
    from dmix.mixing.trajectories.objectives import read_items

    tokenizer = load_tokenizer_file(warehouse.stream(manifest.dataset) / "tokenizer.json", manifest.tokenizer)
    return [
        [
            encode_item(item, tokenizer=tokenizer, eot_id=manifest.tokenizer.eot_id, max_length=longest)
            for item in read_items(objective, objectives.folder)
        ]
        for objective in objectives.objectives
    ]


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
