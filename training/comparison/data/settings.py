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
from dmix.warehouse_schema.files.manifests import digest_of
from dmix.warehouse_schema.settings import load_settings, read_yaml, setting

LAYERS = ("feedback", "development", "confirmation")
THIRD_LAYERS = ("feedback", "confirmation")
"""Layers under the third protocol: what controllers see, and what judges them."""
SHIPPED = Path("benchmarks") / "quality"


@dataclass(frozen=True, kw_only=True)
class ComparisonObjective:
    """One capability, and where its items come from: documents held out of corpora, or a file."""

    name: str = setting(help="Name in tables.")
    role: str = setting(
        help="The field that must be kept, or the one that is learnt.", choices=("general", "target")
    )
    corpora: tuple[str, ...] = setting(
        (), help="Corpus files (by stem) whose documents are held out; the items are their continuations."
    )
    path: str | None = setting(
        None, help="Instead: JSON Lines of id, question and answer, below the data folder."
    )
    topics: tuple[str, ...] = setting(
        (), help="Values of `topic` that a record of `path` may have; all if empty."
    )
    form: str = setting(
        "qa",
        help="Form of the records of `path`: an answer, or choices of which one is right.",
        choices=("qa", "choice"),
    )
    answer: str = setting("answer", help="Field of the records of `path` that is the answer.")
    items: int | None = setting(None, help="Items in each layer, in paths of those of the setting.")
    spare: float = setting(
        0.25, help="Items taken beyond those, as a part of them, for near-duplicates that are left out."
    )
    origin: str = setting(
        "in", help="out: no training text comes from where the items come from.", choices=("in", "out")
    )
    layers: tuple[str, ...] = setting(LAYERS, help=f"Layers that it has items in, of {', '.join(LAYERS)}.")
    weight: float | None = setting(
        None, help="Lambda in the utility, up to a common factor; 1 when left out."
    )
    licence: str = setting("", help="Licence of the items.")

    def __post_init__(self) -> None:
        if bool(self.corpora) == (self.path is not None):
            raise InputError(f"objective {self.name!r} needs either corpora or a path; give one of the two")
        unknown = [layer for layer in self.layers if layer not in LAYERS]
        if unknown or not self.layers:
            raise InputError(
                f"objective {self.name!r} names layers {list(self.layers)}, expected some of"
                f" {', '.join(LAYERS)}"
            )
        if set(self.layers) != set(LAYERS) and self.weight != 0:
            raise InputError(
                f"objective {self.name!r} lacks items in some layers; give it weight 0, so that the utility"
                " means the same in all of them"
            )

    @property
    def kind(self) -> str:
        """Form of the items, as an environment file names it."""
        return "continuation" if self.corpora else self.form


@dataclass(frozen=True, kw_only=True)
class ComparisonSettings:
    """A setting of the comparison."""

    name: str = setting(help="Name of the setting, of its folders and of its datasets.")
    title: str = setting("", help="A sentence about it, for its page.")
    source: tuple[str, ...] = setting(help="Corpus files of the source field: globs below the data folder.")
    target: tuple[str, ...] = setting(help="Corpus files of the target field.")
    classifier: str = setting(
        "column:origin",
        help="What gives a document its domain, as for dmix etl classify. Records without the columns origin"
        " and field get the file's stem and the field's name.",
    )
    taxonomy: str | None = setting("from-data", help="Taxonomy of the classifier, as for dmix etl classify.")
    tokenizer: str = setting("embedded", help="Tokenizer, as for dmix etl shard.")
    seq_len: int = setting(256, help="Tokens per sample; items that are longer are left out.")
    synthetic_source: bool = setting(
        False,
        help="Source text of the runs is what base model 0 writes by itself, as for a model whose source data"
        " nobody has; base models and items are of the source files all the same. Where the classifier is a"
        " column, one distilled on the real source text gives written text its domain.",
    )
    synthetic_quality: str = setting(
        "embedded",
        help="What judges written text, as for dmix etl synthesize --quality; Low text is dropped.",
    )
    model: str = setting("model.yaml", help="Model file of base models, and so of every run.")
    base_training: str = setting("base-training.yaml", help="Training file of base models.")
    training: str = setting("training.yaml", help="Training file of every run.")
    base_tokens: int = setting(
        6_000_000, help="Tokens of source text that a base model sees, each once if possible."
    )
    bases: int = setting(1, help="Base models, which differ in seed.")
    base_of: str | None = setting(
        None,
        help="File of another setting, relative to this one: its kept base models are taken if they were"
        " trained in the same way on the same text.",
    )
    steps: int = setting(16, help="M.")
    samples_per_step: int = setting(160, help="R, a multiple of the batch of the training file.")
    target_supply: float = setting(0.48, help="|T| / (R * M): target text is cut to this (from the paper).")
    source_supply: float = setting(
        1.0, help="|S| / (R * M): source text of the runs, part of what base models saw."
    )
    small_pools: dict[str, float] = setting(
        {}, help="Supply of corpora (by stem) that shall run out early, in units of R * M."
    )
    size_exponent: float = setting(
        0.5,
        help="The other corpora of a field share its supply by their size to this power, 1 being natural.",
    )
    exhaustion: str = setting("repeat", help="Rule for exhausted domains, of every run.")
    max_passes: int = setting(4, help="Passes through each domain under repeat.")
    items: int = setting(40, help="Items of an objective in each layer.")
    protocol: int = setting(
        2,
        help="3: items in two layers (feedback, confirmation), near-duplicates left out; base models read"
        " disjoint documents; objectives are admitted by the stage yardstick.",
    )
    by_label: tuple[str, ...] = setting(
        (), help="Corpora (by stem) of which every label counts as a corpus of its own, STEM-LABEL."
    )
    external: tuple[str, ...] = setting(
        (), help="Corpora that no run and no base model reads: for objectives alone."
    )
    shuffled: float = setting(
        0.0, help="Part of the corpora of each field whose words the runs get in random order."
    )
    near_duplicate: float = setting(
        0.5,
        help="Jaccard similarity of number-masked 8-grams to a training passage from which an item is"
        " flagged.",
    )
    objectives: tuple[ComparisonObjective, ...] = setting(help="What runs are scored on.")
    seed: int = setting(0, help="Seed of the choice of documents and items.")

    def __post_init__(self) -> None:
        for name in ("seq_len", "base_tokens", "bases", "steps", "samples_per_step", "max_passes", "items"):
            if getattr(self, name) < 1:
                raise InputError(f"{self.name}: {name} is {getattr(self, name)}, expected at least 1")
        for name in ("target_supply", "source_supply"):
            if not getattr(self, name) > 0:
                raise InputError(f"{self.name}: {name} is {getattr(self, name)}, expected a number above 0")
        if self.protocol not in (2, 3):
            raise InputError(f"{self.name}: protocol is {self.protocol}, expected 2 or 3")
        if not 0 <= self.shuffled <= 1:
            raise InputError(f"{self.name}: shuffled is {self.shuffled}, expected 0 to 1")
        for objective in self.objectives:
            outside = bool(objective.corpora) and set(objective.corpora) <= set(self.external)
            if objective.corpora and outside != (objective.origin == "out"):
                raise InputError(
                    f"{self.name}: objective {objective.name!r} has origin {objective.origin!r}, and its"
                    f" corpora are {'all' if outside else 'not all'} external; correct one of the two"
                )
        names = [objective.name for objective in self.objectives]
        if not names or len(set(names)) < len(names):
            raise InputError(f"{self.name}: objectives are {names}, expected at least one, each name once")

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
        """Items of an objective in each layer."""
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
            f"setting {name_or_file!r} is neither a file nor {file}; name a setting file, or run the command"
            " in a checkout of dmix"
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
