"""What probes share, and how long they are; light, so that a dry run can count them."""

from dataclasses import dataclass

from dmix.mixing.trajectories.objectives import Environment
from dmix.training.model.settings import ModelSettings, TrainingSettings
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.manifests import DatasetManifest
from dmix.warehouse_schema.settings import check_range

LEAST_STEPS = 4


@dataclass(frozen=True, kw_only=True)
class ProbeTask:
    """What all probes share.

    Attributes:
        warehouse: Where the dataset is.
        manifest: The dataset.
        environment: What probes are scored on.
        model: Path of a model file or checkpoint folder, a hub id, or settings.
        training: How they are trained.
        steps: Steps of a probe, at least 4.
        step_samples: Samples of a step.
        max_passes: How often a sample may come.
    """

    warehouse: Warehouse
    manifest: DatasetManifest
    environment: Environment
    model: str | ModelSettings
    training: TrainingSettings
    steps: int
    step_samples: int
    max_passes: int = 2

    def __post_init__(self) -> None:
        check_range(self, "steps", least=LEAST_STEPS, flags=True)

    @property
    def samples(self) -> int:
        """b, samples of a probe."""
        return self.steps * self.step_samples

    @property
    def tokens(self) -> int:
        """Tokens that a probe trains on."""
        return self.samples * self.manifest.seq_len
