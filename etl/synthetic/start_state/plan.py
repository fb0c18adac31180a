"""An estimation of a start state before it starts: model, classifier and stop rule, all checked."""

from dataclasses import dataclass
from pathlib import Path

from dmix.etl.classifiers.registry import ClassifierSpec, classifier_spec, make_classifier
from dmix.etl.synthetic.generation_settings import GenerationSettings
from dmix.etl.synthetic.generation_tasks import GenerationJob
from dmix.etl.synthetic.memory import check_fits
from dmix.etl.synthetic.source_models import SourceModel, check_engine, source_model
from dmix.etl.synthetic.start_state.settings import StartStateSettings
from dmix.etl.synthetic.synthesize import check_same_generation, generation_digest
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.manifests import DatasetManifest
from dmix.warehouse_schema.taxonomy import Taxonomy


@dataclass(frozen=True, kw_only=True)
class StartStatePlan:
    """An estimation that was found to be possible; nothing is written.

    Attributes:
        name: Of the estimate.
        model: The model.
        job: What all blocks share.
        lock: Held while it is made.
        settings: When to stop.
        classifier: What gives the domains.
        taxonomy: Its labels.
        manifest: Dataset to compare with.
    """

    name: str
    model: SourceModel
    job: GenerationJob
    lock: Path
    settings: StartStateSettings
    classifier: ClassifierSpec
    taxonomy: Taxonomy
    manifest: DatasetManifest | None


def plan_start_state(
    warehouse: Warehouse,
    model: str,
    *,
    name: str,
    settings: StartStateSettings,
    generation: GenerationSettings,
    manifest: DatasetManifest | None = None,
    processes: int = 1,
) -> StartStatePlan:
    """What `estimate_start_state` would do.

    Args:
        warehouse: Where the estimate goes.
        model: Folder or hub id.
        name: Of the estimate.
        settings: When to stop.
        generation: How the model writes.
        manifest: Dataset to compare with, of the classifier's labels.
        processes: How many processes of this machine will load the model.

    Raises:
        InputError: If the model cannot write or does not fit into memory, the classifier needs
            labels that no model writes, the dataset has others, or another generation is there.
        NotFoundError: If there is no such model or classifier.
        MissingDependencyError: If the engine is not installed.
    """
    if settings.classifier.startswith("column"):
        raise InputError(
            f"classifier {settings.classifier!r} reads labels, but a model writes no labels; use "
            "embedded or nvidia"
        )
    spec = classifier_spec(settings.classifier, taxonomy=None)
    taxonomy = make_classifier(spec).taxonomy
    assert taxonomy is not None
    if manifest is not None and manifest.taxonomy.labels != taxonomy.labels:
        raise InputError(
            f"dataset {manifest.dataset} has taxonomy {manifest.taxonomy.name!r}, but classifier"
            f" {settings.classifier!r} gives {taxonomy.name!r}; leave --dataset out, or choose"
            " another one"
        )
    check_engine(generation)
    found = source_model(model, generation)
    check_fits(found, generation, processes=processes)
    job = GenerationJob(
        model=model,
        settings=generation,
        quality=None,
        digest=generation_digest(found, generation, None),
        folder=warehouse.model_start_state(name),
    )
    check_same_generation(job.folder, job)
    return StartStatePlan(
        name=name,
        model=found,
        job=job,
        lock=warehouse.lock_of("start state", name),
        settings=settings,
        classifier=spec,
        taxonomy=taxonomy,
        manifest=manifest,
    )
