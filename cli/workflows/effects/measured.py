"""A model whose effects are measured: what a user asks, found and checked."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dmix.cli.workflows.effects.names import effects_name, model_digest, stored_already
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.manifest_json import digest_of
from dmix.warehouse_schema.files.manifests import DatasetManifest, read_dataset_manifest
from dmix.warehouse_schema.progress import Progress
from dmix.warehouse_schema.settings import check_range

if TYPE_CHECKING:
    from dmix.mixing.effects.effects import Effects
    from dmix.mixing.effects.store import StoredEffects
    from dmix.mixing.space.domains import DomainSpace
    from dmix.mixing.trajectories.objectives import Environment
    from dmix.training.model.estimate.speed import Speed
    from dmix.training.model.settings import ModelSettings, TrainingSettings


@dataclass(frozen=True, kw_only=True)
class ProbeRequest:
    """What a user asks of effects that are measured on a model.

    Attributes:
        environment: Environment file.
        model: Model file, checkpoint folder, model of the warehouse, or hub id.
        training: Content of the training file.
        dataset: Id or name; may be left out when there is one.
        groups: Most groups of domains that are probed.
        steps: Steps of a probe.
        samples: Samples of the run that the effects are for; as many as the dataset has if None.
        max_hours: Hours that it may take; None for no limit on probes, an hour for gradients.
        name: Name of the effects.
        tokens: Most tokens of gradients; as many as there is time for if None.
    """

    environment: Path
    model: str
    training: "TrainingSettings"
    dataset: str | None = None
    groups: int | None = None
    steps: int | None = None
    samples: int | None = None
    max_hours: float | None = None
    name: str | None = None
    tokens: int | None = None

    def __post_init__(self) -> None:
        check_range(self, "max_hours", above=0, flags=True)


@dataclass(frozen=True, kw_only=True, eq=False)
class Measured:
    """A dataset, its objectives, and the model that is measured."""

    warehouse: Warehouse
    manifest: DatasetManifest
    space: "DomainSpace"
    environment: "Environment"
    digest: str
    model: "str | ModelSettings"
    model_name: str

    def effects(self, estimator: str, name: str, effect_ND: Any, errors: Any) -> "Effects":
        """The record of some effects."""
        from dmix.mixing.effects.effects import Effects

        return Effects(
            name=name,
            estimator=estimator,
            dataset=self.manifest.dataset,
            model=self.model_name,
            environment=self.digest,
            names=self.space.names,
            natural_N=self.space.natural_N,
            objectives=self.environment.names,
            roles=self.environment.roles,
            effect_ND=effect_ND,
            errors=errors,
        )

    def already(
        self, estimator: str, request: ProbeRequest, progress: Progress
    ) -> "tuple[str, StoredEffects | None]":
        """The name of these effects, and they themselves if they are stored."""
        of_run = [] if request.samples is None else [request.samples]
        # gradients had another formula once, under the name that a key without this word gives
        formula = ["curvature"] if estimator == "gradient" else []
        key = digest_of([self.digest, self.model_name, model_digest(self.model), *of_run, *formula])
        found = effects_name(estimator, self.manifest, key, request.name)
        return found, stored_already(
            self.warehouse,
            found,
            dataset=self.manifest.dataset,
            environment=self.digest,
            estimator=estimator,
            progress=progress,
        )


def speed_of(
    model: "str | ModelSettings", manifest: DatasetManifest, training: "TrainingSettings", *, dry_run: bool
) -> "Speed":
    """How fast a model trains: timed on a few batches; in a dry run estimated from its shape, without torch.

    Raises:
        NotFoundError, InputError, VerificationError: If the model cannot be trained on the dataset.
    """
    if not dry_run:
        from dmix.training.model.estimate.measured import measure_speed

        return measure_speed(model, manifest, training)
    from dmix.training.model.estimate.shapes import check_weights, shape_of
    from dmix.training.model.estimate.speed import estimated_speed, trains_in_bf16

    shape = shape_of(model, manifest, lora=training.lora)
    if isinstance(model, str):
        check_weights(model, shape, manifest, lora=training.lora)
    return estimated_speed(shape, seq_len=manifest.seq_len, bf16=trains_in_bf16(training))


def measured(warehouse: Warehouse, request: ProbeRequest) -> Measured:
    """Everything that a request names, found and checked.

    Raises:
        NotFoundError: If something is not there.
    """
    from dmix.mixing.effects.store import environment_digest
    from dmix.mixing.space.domains import DomainSpace
    from dmix.mixing.trajectories.objectives import load_environment
    from dmix.training.model.settings import read_model
    from dmix.training.run.request import resolve_model

    manifest = read_dataset_manifest(warehouse.require(), request.dataset)
    environment = load_environment(request.environment)
    resolved = resolve_model(request.model, warehouse)
    return Measured(
        warehouse=warehouse,
        manifest=manifest,
        space=DomainSpace.of_dataset(manifest),
        environment=environment,
        digest=environment_digest(environment),
        model=read_model(resolved),
        model_name=Path(resolved).name if Path(resolved).exists() else resolved,
    )
