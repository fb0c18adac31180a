"""Real worlds: random settings that teach what agents know of text, and others that judge it (method §9).

The split of corpora is a file that is committed before the first world
(`benchmarks/quality/worlds.yaml`). A world is a draw from it: corpora, grouping, supply, rate, horizon,
base model and objectives. It follows from the seed of the file, the kind of world and its number alone,
so a further world changes none of the others. Held-out worlds share no target corpus with each other,
and with fitting ones no target corpus and no base model.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from dmix.training.comparison.data.settings import SHIPPED
from dmix.warehouse_schema.errors import InputError, NotFoundError
from dmix.warehouse_schema.files.layout import publish_bytes, publish_json
from dmix.warehouse_schema.settings import load_settings, setting

WORLDS_FILE = SHIPPED / "worlds.yaml"
KINDS = ("fitting", "held-out")
LADDER = 4
"""So many of the first fitting worlds are run again, step by step of the ladder (method §8)."""
BASES = {"fitting": (0, 1, 2, 3), "held-out": (4, 5, 6, 7)}

_ITEMS, _SEQ_LEN, _RUN_SAMPLES, _BATCH = 30, 256, 2560, 8
_SOURCES, _STEPS, _TARGET_SHARES, _SUPPLY = (5, 10), (8, 24), (0.03, 0.6), (0.6, 1.5)
_PASSES, _RATES = (1, 2, 4), (0.5, 1.0, 2.0)
# Text over all passes, over that of a run: below it, natural mixing would end before its last step.
_ENOUGH = 1.1
# Corpora of few templates: a quarter of their items nearly occur in what is left of the text.
_TEMPLATED = {"deepmind_mathematics"}
# Bytes of a token, on the safe side, and the part of a corpus that is left when items are held out.
_TOKEN_BYTES, _LEFT = 4.5, 0.8


@dataclass(frozen=True, kw_only=True)
class WorldSplit:
    """Which corpora fit and which judge."""

    seed: int = setting(help="Seed of all draws.")
    fitting_worlds: int = setting(help="Number of fitting worlds.")
    held_out_worlds: int = setting(help="Number of held-out worlds, each with a held-out target of its own.")
    sealed: tuple[str, ...] = setting(help="Sealed corpora (by stem); no world uses them.")
    sources: tuple[str, ...] = setting(help="Source corpora that any world may use.")
    labelled: tuple[str, ...] = setting((), help="Source corpora whose labels may be domains.")
    targets: dict[str, list[str]] = setting(help="Sets of target corpora, by name.")
    held_out_targets: tuple[str, ...] = setting(help="Target sets of the held-out worlds, one per world.")
    fitting_targets: tuple[str, ...] = setting(help="Target sets of the fitting worlds.")
    kilobytes: dict[str, float] = setting(help="Size of each corpus in kilobytes.")

    def __post_init__(self) -> None:
        for name in (*self.held_out_targets, *self.fitting_targets):
            if name not in self.targets:
                raise InputError(
                    f"{name!r} is not a set of targets, expected one of {', '.join(self.targets)}"
                )
        judged = self.corpora_of(self.held_out_targets)
        fitted = [*self.sources, *self.corpora_of(self.fitting_targets)]
        if len(set(judged)) < len(judged):
            raise InputError("two held-out worlds share a target corpus; give each its own sets")
        shared = set(judged) & set(fitted)
        if shared:
            raise InputError(f"{min(shared)!r} is held out and in a fitting world; remove it from one")
        sealed = set(self.sealed) & {*judged, *fitted}
        if sealed:
            raise InputError(f"{min(sealed)!r} is sealed and in a world; remove it from one of them")
        unknown = {*judged, *fitted} - self.kilobytes.keys()
        if unknown:
            raise InputError(f"kilobytes lack {min(unknown)!r}; add its size")
        if len(self.held_out_targets) != self.held_out_worlds:
            raise InputError(
                f"{self.held_out_worlds} held-out worlds need as many target sets, but there are"
                f" {len(self.held_out_targets)}"
            )
        if len(self.sources) < _SOURCES[1] + 4:
            raise InputError(f"{len(self.sources)} sources are too few, expected {_SOURCES[1] + 4} or more")

    def corpora_of(self, names: Iterable[str]) -> list[str]:
        """The corpora of sets of targets."""
        return [corpus for name in names for corpus in self.targets[name]]


@dataclass(frozen=True, kw_only=True)
class World:
    """One world.

    Attributes:
        name: `fitting-03`.
        kind: One of `KINDS`.
        sources: Its source corpora.
        targets: Its target corpora.
        outside: The source corpus of its general objective, no domain of the world.
        by_label: Corpora of which each label is a domain.
        source_supply: Source text over the text of a run.
        target_supply: Target text over the text of a run.
        max_passes: Passes through each domain.
        learning_rate: Factor on the rate of the training file.
        steps: M.
        step_samples: R.
        base: Number of the base model.
    """

    name: str
    kind: str
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    outside: str
    by_label: tuple[str, ...]
    source_supply: float
    target_supply: float
    max_passes: int
    learning_rate: float
    steps: int
    step_samples: int
    base: int

    @property
    def target_share(self) -> float:
        """Natural share of the target."""
        return self.target_supply / (self.source_supply + self.target_supply)


def load_split(path: Path = WORLDS_FILE) -> WorldSplit:
    """The split of a file.

    Raises:
        NotFoundError: If there is none.
        InputError: If a corpus is on two sides.
    """
    return load_settings(WorldSplit, path)


def draw_worlds(split: WorldSplit, kind: str) -> list[World]:
    """All worlds of a kind, in order."""
    count = split.fitting_worlds if kind == "fitting" else split.held_out_worlds
    return [draw_world(split, kind, number) for number in range(count)]


def draw_world(split: WorldSplit, kind: str, number: int) -> World:
    """World `number` of a kind, whatever others there are.

    Raises:
        InputError: If the kind is unknown.
    """
    if kind not in KINDS:
        raise InputError(f"kind is {kind!r}, expected one of {', '.join(KINDS)}")
    rng = np.random.default_rng([split.seed, KINDS.index(kind), number])
    if kind == "fitting":
        sets = _drawn(rng, split.fitting_targets, int(rng.integers(1, 4)))
    else:
        sets = (split.held_out_targets[number],)
    targets = tuple(split.corpora_of(sets))
    free = [name for name in split.sources if name not in targets]
    outside, *sources = _drawn(rng, free, 1 + int(rng.integers(_SOURCES[0], _SOURCES[1] + 1)))
    labelled = [name for name in split.labelled if name in sources] if rng.random() < 0.5 else []
    steps = int(rng.integers(_STEPS[0], _STEPS[1] + 1))
    share = float(np.exp(rng.uniform(*np.log(_TARGET_SHARES))))
    supply = min(float(rng.uniform(*_SUPPLY)), _most(split, sources))
    target_supply = min(supply * share / (1 - share), _most(split, targets))
    drawn = int(rng.choice(_PASSES))
    passes = next(n for n in _PASSES if n >= drawn and n * (supply + target_supply) >= _ENOUGH)
    return World(
        name=f"{kind}-{number:02d}",
        kind=kind,
        sources=tuple(sources),
        targets=targets,
        outside=outside,
        by_label=tuple(labelled),
        source_supply=round(supply, 4),
        target_supply=round(target_supply, 4),
        max_passes=passes,
        learning_rate=float(rng.choice(_RATES)),
        steps=steps,
        step_samples=max(_BATCH, round(_RUN_SAMPLES / steps / _BATCH) * _BATCH),
        base=int(rng.choice(BASES[kind])),
    )


def world_setting(world: World, files: Mapping[str, str]) -> dict[str, Any]:
    """The setting file of a world, as `dmix bench quality` reads it.

    Args:
        world: The world.
        files: Path of each corpus below the data folder, by stem.

    Raises:
        NotFoundError: If a corpus has no file.
    """
    for name in (*world.sources, world.outside, *world.targets):
        if name not in files:
            raise NotFoundError(f"corpus {name!r} of world {world.name} has no file; name its folder")
    target: dict[str, Any] = {"name": "target", "role": "target", "corpora": list(world.targets)}
    if set(world.targets) <= _TEMPLATED:
        target["spare"] = 1.0
    return {
        "name": world.name,
        "title": f"World {world.name}: {', '.join(world.targets)} beside {len(world.sources)} corpora.",
        "protocol": 3,
        "bases": 8,
        "base_tokens": 3_000_000,
        "source": [files[name] for name in (*world.sources, world.outside)],
        "target": [files[name] for name in world.targets],
        "external": [world.outside],
        "by_label": list(world.by_label),
        "classifier": "column:origin",
        "training": f"training-{world.learning_rate:g}.yaml",
        "source_supply": world.source_supply,
        "target_supply": world.target_supply,
        "max_passes": world.max_passes,
        "steps": world.steps,
        "samples_per_step": world.step_samples,
        "items": _ITEMS,
        "world": world.kind,
        "run_base": world.base,
        "objectives": [
            {"name": "general", "role": "general", "corpora": [world.outside], "origin": "out"},
            target,
        ],
    }


def write_worlds(split: WorldSplit, folder: Path, *, files: Mapping[str, str]) -> list[Path]:
    """Writes the setting file of every world, its training files, and `worlds.json` with all draws.

    Args:
        split: Which corpora they may hold.
        folder: Where to; `model.yaml`, `base-training.yaml` and `training.yaml` are copied from the split's.
        files: Path of each corpus below the data folder, by stem.
    """
    worlds = [world for kind in KINDS for world in draw_worlds(split, kind)]
    for name in ("model.yaml", "base-training.yaml"):
        publish_bytes(folder / name, (SHIPPED / name).read_bytes())
    training = yaml.safe_load((SHIPPED / "training.yaml").read_text(encoding="utf-8"))
    for factor in _RATES:
        content = {**training, "learning_rate": training["learning_rate"] * factor}
        publish_bytes(folder / f"training-{factor:g}.yaml", yaml.safe_dump(content).encode())
    ladder = [
        dataclasses.replace(world, name=f"ladder-{number:02d}", kind="ladder")
        for number, world in enumerate(worlds[:LADDER])
    ]
    paths = []
    for world in (*worlds, *ladder):
        paths.append(folder / f"{world.name}.yaml")
        publish_bytes(paths[-1], yaml.safe_dump(world_setting(world, files), sort_keys=False).encode())
    plain = [{**dataclasses.asdict(w), "target_share": round(w.target_share, 4)} for w in worlds]
    publish_json(folder / "worlds.json", plain)
    return paths


def _most(split: WorldSplit, corpora: Sequence[str]) -> float:
    """Text that corpora surely have, over the text of a run."""
    size = sum(split.kilobytes[name] for name in corpora) * 1000
    return size / _TOKEN_BYTES * _LEFT / (_RUN_SAMPLES * _SEQ_LEN)


def _drawn(rng: np.random.Generator, names: Sequence[str], count: int) -> tuple[str, ...]:
    """`count` of the names in random order, whatever order they are in."""
    ordered = sorted(names)
    return tuple(ordered[i] for i in rng.permutation(len(ordered))[:count])
