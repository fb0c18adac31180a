"""The environment: what a model must be good at, and the one number made of it (method §3).

An environment file lists objectives; each names a file of evaluation items. The score of a
model on an objective (Eq. 1) is computed in `dmix.training.scoring.environment`, since it needs the
model; here are the items, the file form and the utility. Shapes: D objectives.
"""

import codecs
import dataclasses
import gzip
import hashlib
import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from dmix.mixing.space.domains import Vector
from dmix.warehouse_schema.errors import InputError, NotFoundError
from dmix.warehouse_schema.files.layout import publish_bytes
from dmix.warehouse_schema.files.names import from_home, spelled_halves
from dmix.warehouse_schema.settings import check_range, read_yaml, section_of_run, setting, settings_from
from dmix.warehouse_schema.sizes import num_text, size_text
from dmix.warehouse_schema.text_files import parse_json

# Of ten parts of a file (by hash of the item's id), the ones that a split holds: disjoint layers
# for steering, for development and for the one confirmation (method §7).
SPLITS = {"all": range(10), "feedback": range(6), "development": range(6, 8), "confirmation": range(8, 10)}

KEYS = {"continuation": "id, text", "qa": "id, question, answer", "choice": "id, question, choices, label"}
"""Keys of an item of each kind."""

_LONGEST_LINE_BYTES = 64 << 20
"""A line of an item file. A compressed file of a few kB can hold one that no memory takes."""


@dataclass(frozen=True, kw_only=True)
class Objective:
    """One capability that must be good, and the items that measure it."""

    name: str = setting(help="Name of the objective in tables and in the catalog.")
    role: str = setting(
        help="Role of the objective. A 'general' objective measures knowledge of the source field, which "
        "the model must keep. A 'target' objective measures knowledge of the target field, which the model "
        "must learn.",
        choices=("general", "target"),
    )
    kind: str = setting(
        help="Form of the records. A 'qa' record has id, question and answer. A 'continuation' record has "
        "id and text; the second half of the text is the answer. A 'choice' record has id, question, "
        "choices and label. The label is the index of the right choice, from 0.",
        choices=("qa", "continuation", "choice"),
    )
    path: str = setting(
        help="JSON Lines file with the items, plain or .gz. The path is relative to `folder`."
    )
    limit: int | None = setting(None, help="Number of items that dmix draws at random. Default: all.")
    seed: int = setting(0, help="Seed of the random draw for `limit`.")
    weight: float | None = setting(
        None,
        help="Relative weight (lambda) of the objective in the utility. The utility is the weighted sum "
        "of the gains of all objectives. Default: 1 for every objective.",
    )
    licence: str = setting("", help="Licence of the items. Reports show this text.")
    split: str = setting(
        "all",
        help="Part of the items to use. 'all' is every item. 'feedback' is six tenths, 'development' two "
        "tenths, and 'confirmation' the other two tenths. A hash of the item's id decides to which part the "
        "item belongs.",
        choices=tuple(SPLITS),
    )

    def __post_init__(self) -> None:
        if not self.name:
            raise InputError("an objective has an empty name; give a name")
        if spelled_halves(self.name) != self.name:
            raise InputError(f"the objective {self.name!r} has half a surrogate pair in its name; correct it")
        if self.limit is not None and self.limit < 1:
            raise InputError(
                f"objective {self.name!r}: limit is {self.limit}, expected at least 1 or no limit"
            )
        check_range(self, "weight", least=0, where=f"objective {self.name!r}: ")


@dataclass(frozen=True, kw_only=True)
class Environment:
    """A set of objectives, and the folder of their files."""

    objectives: tuple[Objective, ...] = setting(
        help="List of objectives. Tables and score vectors show the objectives in this order."
    )
    scales: dict[str, float] = setting(
        {},
        help="Scale of each objective in nats per token, by name. A scale in this file replaces the scale "
        "from the farm (the training runs of small models).",
    )
    folder: str = setting(
        ".",
        help="Folder to which all paths are relative. This folder is itself relative to the environment "
        "file.",
    )

    def __post_init__(self) -> None:
        names = self.names
        if not names:
            raise InputError(
                "the environment file lists no objectives; add one, such as {name: exam, role: target, "
                "kind: qa, path: items/exam.jsonl} under 'objectives:'"
            )
        if len(set(names)) < len(names):
            raise InputError(f"two objectives have the same name: {', '.join(names)}; rename one")
        for name, scale in self.scales.items():
            if name not in names:
                raise InputError(
                    f"'scales' contains {name!r}, which is not an objective (available: {', '.join(names)})"
                )
            if not 0 < scale < np.inf:
                raise InputError(f"the scale of {name!r} is {scale}, expected a number above 0")
        if not any(objective.weight != 0 for objective in self.objectives):
            raise InputError("every objective has weight 0; give one of them a weight above 0")
        if not math.isfinite(sum(objective.weight or 0.0 for objective in self.objectives)):
            raise InputError("the weights of the objectives are too large to be summed; give smaller ones")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the objectives, in order."""
        return tuple(objective.name for objective in self.objectives)

    @property
    def roles(self) -> tuple[str, ...]:
        """Role of each objective, general or target, in order."""
        return tuple(objective.role for objective in self.objectives)

    @property
    def weights_D(self) -> Vector:
        """lambda_i, summing to 1: 1/D each unless weights were given."""
        raw_D = np.array([1.0 if o.weight is None else o.weight for o in self.objectives])
        return raw_D / raw_D.sum()

    @property
    def scales_D(self) -> Vector:
        """s_i in nats per token; 1 where neither the user nor a farm has set one."""
        return np.array([self.scales.get(name, 1.0) for name in self.names])


@dataclass(frozen=True)
class Item:
    """One evaluation item.

    Attributes:
        item_id: Id in its file.
        question: What the model is given.
        answer: What is scored, given the question.
        separator: What stands between the two in the prompt.
        choices: All options where there are some; `answer` is the right one.
    """

    item_id: str
    question: str
    answer: str
    separator: str = ""
    choices: tuple[str, ...] = ()

    @property
    def prompt(self) -> str:
        """The text before the answer, exactly as the model reads it."""
        return self.question + self.separator


def load_environment(path: str | Path) -> Environment:
    """The environment of a YAML file, or of the `config.yaml` of a run, its folder made absolute.

    Raises:
        NotFoundError: If the file does not exist.
        InputError: If it is not YAML, or a name or value in it is wrong.
    """
    path = Path(path)
    environment = settings_from(Environment, section_of_run(read_yaml(path), "environment"), where=str(path))
    folder = (path.absolute().parent / from_home(environment.folder)).resolve()
    return dataclasses.replace(environment, folder=str(folder))


def write_environment(path: Path, environment: Environment) -> None:
    """Publishes an environment file that `load_environment` reads back equal."""
    content = yaml.safe_dump(environment_to_json(environment), sort_keys=False, allow_unicode=True)
    publish_bytes(path, content.encode())


def environment_to_json(environment: Environment) -> dict[str, Any]:
    """Plain values of an environment, as its file holds them."""
    value = dataclasses.asdict(environment)
    value["objectives"] = [
        {name: given for name, given in objective.items() if given not in (None, "")}
        for objective in value["objectives"]
    ]
    return value


def read_items(objective: Objective, folder: str | Path) -> list[Item]:
    """The items of an objective, in file order after the draw of `limit`.

    Args:
        objective: Names the file, the form of its records, the split and the limit.
        folder: Folder that relative paths start from.

    Raises:
        NotFoundError: If the file does not exist.
        InputError: If a record is malformed (with its line), or no item is left.
    """
    path = Path(folder) / objective.path
    build = {"qa": _qa_item, "continuation": _continuation_item, "choice": _choice_item}[objective.kind]
    items = [build(record, f"{path} line {line}") for line, record in read_records(path)]
    items = [item for item in items if _part(item.item_id) in SPLITS[objective.split]]
    if not items:
        part = "" if objective.split == "all" else f" in its part {objective.split!r} (key 'split')"
        raise InputError(
            f"objective {objective.name!r}: {path} has no items{part}; write one JSON object per line into "
            f"it, with the keys {KEYS[objective.kind]}"
            f"{', or choose another split in the environment file' if part else ''}"
        )
    if objective.limit is not None and objective.limit < len(items):
        drawn = np.random.default_rng(objective.seed).permutation(len(items))[: objective.limit]
        items = [items[index] for index in sorted(drawn)]
    return items


def items_digests(environment: Environment) -> dict[str, str]:
    """What each objective measures, by content: a digest of its items, by name."""
    found = {}
    for objective in environment.objectives:
        items = read_items(objective, environment.folder)
        content = repr([(item.item_id, item.prompt, item.answer, *item.choices) for item in items])
        found[objective.name] = hashlib.sha256(content.encode(errors="backslashreplace")).hexdigest()
    return found


def changed_names(before: Sequence[str], now: Sequence[str]) -> str:
    """How names of objectives differ from earlier ones, in words; empty where they are the same."""
    said = [
        f"{word} {', '.join(names)}"
        for word, names in (
            ("added", [name for name in now if name not in before]),
            ("removed", [name for name in before if name not in now]),
        )
        if names
    ]
    return "; ".join(said) if said or tuple(before) == tuple(now) else "another order"


def changed_objectives(before: Environment, now: Environment, *, items: Mapping[str, str]) -> str:
    """How objectives differ from earlier ones, in words; weights and scales do not count.

    Args:
        before: The earlier ones.
        now: The present ones.
        items: Digests of the earlier items, as `items_digests` gives them; empty where they are not known.

    Raises:
        NotFoundError, InputError: As `read_items`, for the present ones.
    """
    said = [names] if (names := changed_names(before.names, now.names)) else []
    earlier, digests = {objective.name: objective for objective in before.objectives}, items_digests(now)
    unknown = []
    for objective in now.objectives:
        other = earlier.get(objective.name)
        if other is None:
            continue
        different = [
            f"{what} {_said(getattr(objective, what))} (before: {_said(getattr(other, what))})"
            for what in ("role", "kind", "split", "limit", "seed")
            if getattr(objective, what) != getattr(other, what)
        ]
        if not different and items.get(objective.name, "") != digests[objective.name]:
            different = ["other items"]
            if objective.name not in items:
                unknown.append(objective.path)
                continue
        if different:
            said.append(f"{objective.name} has {' and '.join(different)}")
    if unknown and not said:
        said.append(f"other items in {' or '.join(dict.fromkeys(unknown))}")
    return "; ".join(said)


def _said(value: object) -> str:
    return "none" if value is None else str(value)


def check_items(environment: Environment) -> None:
    """Reads the items of all objectives, so that a wrong file is found before anything is trained.

    Raises:
        NotFoundError: If a file does not exist.
        InputError: If a record is malformed (with its line), or no item is left.
    """
    for objective in environment.objectives:
        read_items(objective, environment.folder)


def utility(
    scores_D: NDArray[np.float64],
    base_D: NDArray[np.float64],
    scales_D: NDArray[np.float64],
    weights_D: NDArray[np.float64],
) -> Any:
    """U = sum of lambda_i (score_i - base_i) / s_i (method §3).

    Args:
        scores_D: Scores in nats per token, shape (..., D).
        base_D: Scores of the model before any step, shape (D,).
        scales_D: s_i in nats per token, shape (D,).
        weights_D: lambda_i, summing to 1, shape (D,).

    Returns:
        Utility without unit, shape (...); NaN where a score is missing.
    """
    return ((np.asarray(scores_D) - base_D) / scales_D) @ weights_D


def split_text(text: str) -> tuple[str, str]:
    """A text cut in two at the white space nearest its middle; the cut belongs to the second half.

    A text without inner white space is cut in the middle.
    """
    middle = len(text) // 2
    for distance in range(middle):
        for position in (middle - distance, middle + distance):
            if 0 < position < len(text) - 1 and text[position].isspace():
                return text[:position], text[position:]
    return text[:middle], text[middle:]


def _qa_item(record: dict[str, Any], where: str) -> Item:
    return Item(
        str(record.get("id", where)),
        _text(record, "question", where),
        _text(record, "answer", where),
        separator="\n",
    )


def _continuation_item(record: dict[str, Any], where: str) -> Item:
    text = _text(record, "text", where).strip()
    if len(text) < 2:
        raise InputError(
            f"{where}: 'text' has {num_text(len(text), 'character')}, expected two halves; remove the record"
        )
    return Item(str(record.get("id", where)), *split_text(text))


def _choice_item(record: dict[str, Any], where: str) -> Item:
    choices, label = record.get("choices"), record.get("label")
    if not isinstance(choices, list) or not all(isinstance(c, str) and c.strip() for c in choices):
        raise InputError(f"{where}: 'choices' is {choices!r}, expected a list of texts; correct the record")
    if len(set(choices)) < max(2, len(choices)):
        raise InputError(f"{where}: 'choices' is {choices!r}, expected two texts or more, each once")
    if not isinstance(label, int) or isinstance(label, bool) or not 0 <= label < len(choices):
        raise InputError(
            f"{where}: 'label' is {label!r}, expected the index of one of {len(choices)} choices"
        )
    question = _text(record, "question", where)
    return Item(
        str(record.get("id", where)), question, choices[label], separator="\n", choices=tuple(choices)
    )


def _text(record: dict[str, Any], name: str, where: str) -> str:
    value = record.get(name)
    if isinstance(value, str) and value.strip():
        return value
    kinds = [kind for kind, keys in KEYS.items() if name in keys.split(", ")]
    got = f"key {name!r} is {value!r}" if name in record else f"the record has no key {name!r}"
    found = ", ".join(str(key) for key in list(record)[:8]) or "none"
    raise InputError(
        f"{where}: {got}, expected text (its keys: {found}). Objectives of the kind {' or '.join(kinds)} "
        "need it; correct the record, or the kind in the environment file"
    )


def read_records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number (from 1) and record of every line of an item file, plain or .gz, that is not blank.

    Raises:
        NotFoundError: If the file does not exist.
        InputError: If it is damaged, or a line is not a JSON object.
    """
    try:
        if not path.is_file():
            raise NotFoundError(
                f"item file {path} does not exist; correct its path (in an environment file, paths start "
                "from the folder of this file)"
            )
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            for number, line in enumerate(iter(lambda: file.readline(_LONGEST_LINE_BYTES), b""), start=1):
                if len(line) == _LONGEST_LINE_BYTES:
                    raise InputError(
                        f"{path} line {number} is longer than {size_text(_LONGEST_LINE_BYTES)}, expected an"
                        " evaluation item; correct the file"
                    )
                if number == 1 and line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                    raise InputError(f"{path} is UTF-16 text, expected UTF-8; save it as UTF-8")
                if line.strip():
                    yield number, _record(line, f"{path} line {number}")
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path} is a damaged gzip file ({error}); download it again") from None
    except OSError as error:
        raise InputError(
            f"item file {str(path)[:300]} cannot be read ({error.strerror}); correct its path or permissions"
        ) from None


def _record(line: bytes, where: str) -> dict[str, Any]:
    try:
        record = parse_json(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where} is not JSON ({error}); expected one object per line") from None
    if not isinstance(record, dict):
        raise InputError(f"{where} is a {type(record).__name__}, expected an object")
    return record


def _part(item_id: str) -> int:
    """One of ten parts, by hash, so that splits stay the same when a file grows."""
    return int.from_bytes(hashlib.sha256(item_id.encode()).digest()[:8], "big") % 10
