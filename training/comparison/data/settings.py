"""What a setting of the comparison is: text, objectives, model and sizes, as a YAML file says.

A setting file works on any folder of corpora and any item files; the folder is an argument of
`dmix bench quality`, and all paths of text and items in the file are relative to it. Model and
training files are named relative to the setting file.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dmix.warehouse_schema.errors import InputError, NotFoundError
from dmix.warehouse_schema.files.manifest_json import digest_of
from dmix.warehouse_schema.settings import check_range, load_settings, read_yaml, setting

LAYERS = ("feedback", "development", "confirmation")
THIRD_LAYERS = ("feedback", "confirmation")
"""Layers under the third protocol: what controllers see, and what judges them."""
SHIPPED = Path("benchmarks") / "quality"


@dataclass(frozen=True, kw_only=True)
class ComparisonObjective:
    """One capability, and where its items come from: documents held out of corpora, or a file."""

    name: str = setting(help="Name of the objective in tables.")
    role: str = setting(
        help="general: the field to keep. target: the field to learn.", choices=("general", "target")
    )
    corpora: tuple[str, ...] = setting(
        (), help="Corpus files (by stem) that give the items: continuations of held-out documents."
    )
    path: str | None = setting(
        None,
        help="Instead of corpora: JSON Lines file with id, question and answer, relative to the data folder.",
    )
    topics: tuple[str, ...] = setting(
        (), help="Topics to use: values of `topic` in the records of `path`; empty means all."
    )
    form: str = setting(
        "qa",
        help="Form of the records of `path`. qa: a question with its answer. choice: a question with"
        " several choices, one of them right.",
        choices=("qa", "choice"),
    )
    answer: str = setting("answer", help="Name of the answer field in the records of `path`.")
    items: int | None = setting(None, help="Items per layer. Default: the number that the setting gives.")
    spare: float = setting(0.25, help="Spare items, as a share of `items`, to replace near-duplicates.")
    origin: str = setting(
        "in", help="out: no training text has the same origin as the items.", choices=("in", "out")
    )
    layers: tuple[str, ...] = setting(
        LAYERS, help=f"Layers in which the objective has items: some of {', '.join(LAYERS)}."
    )
    weight: float | None = setting(
        None, help="Relative weight (lambda) of the objective in the utility. Default: 1."
    )
    licence: str = setting("", help="Licence of the items.")

    def __post_init__(self) -> None:
        if bool(self.corpora) == (self.path is not None):
            raise InputError(f"objective {self.name!r} needs either corpora or a path; give one of the two")
        unknown = [layer for layer in self.layers if layer not in LAYERS]
        if unknown or not self.layers:
            raise InputError(
                f"objective {self.name!r} has the layers {list(self.layers)}, expected some of "
                f"{', '.join(LAYERS)}"
            )
        if set(self.layers) != set(LAYERS) and self.weight != 0:
            raise InputError(
                f"objective {self.name!r} has no items in some layers; set its weight to 0, so that the "
                "utility means the same in all layers"
            )

    @property
    def kind(self) -> str:
        """Form of the items, as an environment file names it."""
        return "continuation" if self.corpora else self.form


@dataclass(frozen=True, kw_only=True)
class ComparisonSettings:
    """A setting of the comparison."""

    name: str = setting(help="Name of the setting, of its folders and of its datasets.")
    title: str = setting("", help="One sentence about the setting, for its page.")
    source: tuple[str, ...] = setting(
        help="Corpus files of the source field: globs relative to the data folder."
    )
    target: tuple[str, ...] = setting(help="Corpus files of the target field.")
    classifier: str = setting(
        "column:origin",
        help="Classifier, as in dmix etl classify. Records without the columns origin and field get the"
        " file's stem and the field's name.",
    )
    taxonomy: str | None = setting("from-data", help="Taxonomy of the classifier, as in dmix etl classify.")
    tokenizer: str = setting("embedded", help="Tokenizer, as in dmix etl shard.")
    seq_len: int = setting(256, help="Tokens per sample. Longer items are left out.")
    synthetic_source: bool = setting(
        False,
        help="Train on source text that base model 0 writes, as if the source data were unavailable."
        " Base models and items still come from the source files. If the classifier is a column, a"
        " classifier distilled from the real source text labels the written text.",
    )
    synthetic_quality: str = setting(
        "embedded",
        help="Classifier that judges written text, as in dmix etl synthesize --quality. Text of quality"
        " Low is dropped.",
    )
    model: str = setting("model.yaml", help="Model file of the base models, and thus of every run.")
    base_training: str = setting("base-training.yaml", help="Training file of the base models.")
    training: str = setting("training.yaml", help="Training file of every run.")
    base_tokens: int = setting(
        6_000_000, help="Source tokens that a base model trains on, in one pass if possible.", most=2**50
    )
    bases: int = setting(1, help="Number of base models; they differ in their seed.")
    base_of: str | None = setting(
        None,
        help="File of another setting, relative to this one. Its stored base models are reused if they"
        " come from the same training on the same text.",
    )
    steps: int = setting(16, help="M: number of steps.")
    samples_per_step: int = setting(160, help="R: samples per step, a multiple of the training file's batch.")
    target_supply: float = setting(
        0.48, help="Target supply |T| / (R * M); target text is cut to this size (value from the paper)."
    )
    source_supply: float = setting(
        1.0, help="Source supply |S| / (R * M); the runs read part of the base models' text."
    )
    small_pools: dict[str, float] = setting(
        {}, help="Supply of corpora (by stem) that must run out early, in units of R * M."
    )
    size_exponent: float = setting(
        0.5,
        help="Exponent of corpus size by which the other corpora of a field share its supply; 1 is natural.",
    )
    exhaustion: str = setting("repeat", help="Rule for exhausted domains in every run.")
    max_passes: int = setting(4, help="Passes through each domain under repeat.")
    items: int = setting(40, help="Items of an objective per layer.")
    protocol: int = setting(
        2,
        help="Version of the protocol. 3: items in two layers (feedback, confirmation) without"
        " near-duplicates, base models on disjoint documents, objectives admitted by the stage"
        " yardstick.",
    )
    by_label: tuple[str, ...] = setting(
        (), help="Corpora (by stem) that are split by label; each label becomes a corpus STEM-LABEL."
    )
    external: tuple[str, ...] = setting(
        (), help="Corpora for objectives only; neither runs nor base models read them."
    )
    shuffled: float = setting(
        0.0, help="Share of each field's corpora whose words are put in random order for the runs."
    )
    near_duplicate: float = setting(
        0.5,
        help="Threshold for near-duplicate items: Jaccard similarity of number-masked 8-grams to a"
        " training passage.",
    )
    world: str | None = setting(
        None,
        help="Kind of world: fitting, ladder (a fitting world again, under priors that leave it out) or"
        " held-out. A world has the stage worlds.",
        choices=("fitting", "ladder", "held-out"),
    )
    run_base: int = setting(0, help="Number of the base model that the runs of a world start from.")
    objectives: tuple[ComparisonObjective, ...] = setting(help="Objectives that score the runs.")
    seed: int = setting(0, help="Seed of the draws of documents and items.")

    def __post_init__(self) -> None:
        counts = ("seq_len", "base_tokens", "bases", "steps", "samples_per_step", "max_passes", "items")
        check_range(self, *counts, least=1, where=f"{self.name}: ")
        check_range(self, "target_supply", "source_supply", above=0, where=f"{self.name}: ")
        check_range(self, "shuffled", least=0, most=1, where=f"{self.name}: ")
        if self.protocol not in (2, 3):
            raise InputError(f"{self.name}: protocol is {self.protocol}, expected 2 or 3")
        for objective in self.objectives:
            outside = bool(objective.corpora) and set(objective.corpora) <= set(self.external)
            if objective.corpora and outside != (objective.origin == "out"):
                raise InputError(
                    f"{self.name}: objective {objective.name!r} has origin {objective.origin!r}, but its "
                    f"corpora are {'all' if outside else 'not all'} external; correct one of the two"
                )
        names = [objective.name for objective in self.objectives]
        if not names or len(set(names)) < len(names):
            raise InputError(
                f"{self.name}: objectives are {names}, expected at least one objective and each name "
                "only once"
            )

    @property
    def run_samples(self) -> int:
        """R * M, samples that every run trains on."""
        return self.steps * self.samples_per_step

    @property
    def layers(self) -> tuple[str, ...]:
        """Layers of items that runs are scored on."""
        return THIRD_LAYERS if self.protocol == 3 else LAYERS

    def layers_of(self, objective: ComparisonObjective) -> tuple[str, ...]:
        """Layers in which an objective has items."""
        return tuple(layer for layer in objective.layers if layer in self.layers)

    def items_of(self, objective: ComparisonObjective) -> int:
        "Items of an objective per layer."
        return self.items if objective.items is None else objective.items

    def in_layer(self, layer: str) -> tuple[ComparisonObjective, ...]:
        """Objectives with items in a layer; those of every layer come first, in the same order."""
        return tuple(objective for objective in self.objectives if layer in objective.layers)


@dataclass(frozen=True)
class LoadedSetting:
    """A setting with the content of the files that it names.

    Attributes:
        settings: The setting.
        file: Where it was read.
        model: Content of the model file.
        base_training: Content of the training file of base models.
        training: Content of the training file of runs.
        base_of: The setting whose base models may serve, too.
    """

    settings: ComparisonSettings
    file: Path
    model: dict[str, Any]
    base_training: dict[str, Any]
    training: dict[str, Any]
    base_of: "LoadedSetting | None" = None

    @property
    def digest(self) -> str:
        """Hash of all that the files say and that decides a result; defaults do not count as said."""
        given = said(self.settings, leave_out=("title", "base_of"))
        return digest_of([given, self.model, self.base_training, self.training])

    @property
    def base_recipe(self) -> tuple[Any, ...]:
        """What a base model follows from, beside its text and its number."""
        return self.model, self.base_training, self.settings.base_tokens


def load_setting(name_or_file: str) -> LoadedSetting:
    """The setting of a file, or of a name under `benchmarks/quality/`.

    Raises:
        NotFoundError: If there is no such file.
        InputError: If a file says something wrong.
    """
    file = Path(name_or_file)
    if not file.is_file():
        file = SHIPPED / f"{name_or_file}.yaml"
    if not file.is_file():
        raise NotFoundError(
            f"setting {name_or_file!r} does not exist, neither as a file nor as {file}; give a setting "
            "file, or run the command in a checkout of dmix"
        )
    settings = load_settings(ComparisonSettings, file)
    model, base, run = (
        read_yaml(file.parent / name) for name in (settings.model, settings.base_training, settings.training)
    )
    base_of = None if settings.base_of is None else load_setting(str(file.parent / settings.base_of))
    return LoadedSetting(settings, file.absolute(), model, base, run, base_of)


def said(instance: Any, *, leave_out: tuple[str, ...] = ()) -> dict[str, Any]:
    """Fields of a dataclass that differ from their defaults, so that a new field changes no hash."""
    found = {}
    for field in dataclasses.fields(instance):
        value = getattr(instance, field.name)
        default = field.default_factory() if callable(field.default_factory) else field.default
        if field.name in leave_out or value == default:
            continue
        if isinstance(value, tuple) and value and dataclasses.is_dataclass(value[0]):
            value = [said(part) for part in value]
        found[field.name] = value
    return found
