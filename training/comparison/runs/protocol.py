"""Protocols: files that must be committed before the runs that they make promises about.

The hash of a protocol goes into each of these runs, so that a reader can check what had been promised.
"""

import hashlib
import subprocess
from dataclasses import dataclass
from pathlib import Path

from dmix import __version__
from dmix.training.comparison.data.settings import LAYERS
from dmix.training.comparison.data.tiers import CELLS_SEED, CONFIRMATION_SEED
from dmix.training.comparison.effects.world_plans import AGENT, COUNTS_PLAN, PLAN
from dmix.training.comparison.rivals.cells import CELLS
from dmix.warehouse_schema.errors import InputError, NotFoundError
from dmix.warehouse_schema.settings import load_settings, setting

PROTOCOL_FILE = "protocol.yaml"
THIRD_PROTOCOL_FILE = "protocol-3.yaml"


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """What is promised before the confirmation."""

    settings: tuple[str, ...] = setting(help="Settings to confirm, one hypothesis each.")
    hypothesis: str = setting(help="The hypothesis of each setting, in words.")
    agent: str = setting(help="Controller under test, named as in the screening.")
    rival: str = setting(
        "best-other",
        help="Rival. best-other: the other controller of the screening with the highest mean utility on"
        " `selected_on`.",
        choices=("best-other",),
    )
    selected_on: str = setting(
        "development", help="Layer of items that decides the choice of the rival.", choices=LAYERS
    )
    judged_on: str = setting(
        "confirmation", help="Layer of items that decides the hypothesis.", choices=LAYERS
    )
    seeds: int = setting(help="Number of fresh, paired seeds per finalist and base model.")
    first_seed: int = setting(
        CONFIRMATION_SEED,
        help=f"First of these seeds, at least {CONFIRMATION_SEED}. A later round must use new seeds.",
    )
    analysis: str = setting(help="How the difference is estimated and tested, in words.")

    def __post_init__(self) -> None:
        if self.first_seed < CONFIRMATION_SEED:
            raise InputError(
                f"first_seed is {self.first_seed}, expected {CONFIRMATION_SEED} or more, because earlier "
                "choices used smaller seeds; choose another seed"
            )


@dataclass(frozen=True, kw_only=True)
class WorldsProtocol:
    """What is promised before the held-out worlds."""

    settings: tuple[str, ...] = setting(help="The held-out worlds.")
    hypothesis: str = setting(help="The hypothesis, in words.")
    agent: str = setting(help="Controller under test: one of the ladder.", choices=(COUNTS_PLAN, PLAN, AGENT))
    least_ahead: int = setting(help="Number of worlds in which it must be ahead of natural mixing.")
    analysis: str = setting(help="How a world is won, in words.")

    def __post_init__(self) -> None:
        if not 1 <= self.least_ahead <= len(self.settings):
            raise InputError(
                f"least_ahead is {self.least_ahead}, expected 1 to {len(self.settings)}, the number of worlds"
            )


@dataclass(frozen=True, kw_only=True)
class ThirdProtocol:
    """What is promised before the confirmation of the third protocol."""

    settings: tuple[str, ...] = setting(help="Settings to confirm.")
    agent: str = setting(help="Cell under test: the last step of the ladder that gains.", choices=CELLS)
    references: tuple[str, ...] = setting(
        help="Cells of hypothesis (a): the agent is behind none of them by `margin`."
    )
    margin: float = setting(
        0.15, help="Largest loss that counts as none, in standard deviations of U over the yardstick's tilts."
    )
    rivals: tuple[str, ...] = setting(help="Cells of hypothesis (b): the agent is ahead of each of them.")
    beside: tuple[str, ...] = setting((), help="Cells that run beside them without a hypothesis.")
    seeds: int = setting(2, help="Run seeds per cell and base model.")
    first_seed: int = setting(CELLS_SEED, help="First of these seeds. Nothing was chosen on them.")
    hypotheses: str = setting(help="The hypotheses, in words.")
    analysis: str = setting(help="How differences are estimated and tested, in words.")

    def __post_init__(self) -> None:
        if self.first_seed < CELLS_SEED:
            raise InputError(
                f"first_seed is {self.first_seed}, expected {CELLS_SEED} or more, because earlier choices "
                "used smaller seeds; choose another seed"
            )
        unknown = [cell for cell in self.cells if cell not in CELLS]
        if unknown:
            raise InputError(f"{unknown[0]!r} is not a cell; choose some of {', '.join(CELLS)}")
        if len(set(self.cells)) < len(self.cells):
            raise InputError("a cell has two roles in the protocol; name each cell once")

    @property
    def cells(self) -> tuple[str, ...]:
        """All cells, the agent first."""
        return (self.agent, *self.references, *self.rivals, *self.beside)


@dataclass(frozen=True)
class CommittedProtocol:
    """A protocol with the hash of its file."""

    protocol: Protocol | WorldsProtocol | ThirdProtocol
    sha256: str


def committed_protocol(
    file: Path, schema: type[Protocol] | type[WorldsProtocol] | type[ThirdProtocol]
) -> CommittedProtocol:
    """The protocol of a file, if the file is committed and unchanged.

    Args:
        file: Where it is.
        schema: What it promises about.

    Raises:
        NotFoundError: If there is no such file.
        InputError: If it is not committed, was changed since, or says something wrong.
    """
    if not file.is_file():
        raise NotFoundError(
            f"{file} does not exist; write the protocol and commit it before the runs that it is about"
        )
    folder, name = file.absolute().parent, file.name
    if _git(folder, "ls-files", "--error-unmatch", "--", name) is None:
        raise InputError(f"{file} is not committed; commit it before the first of these runs")
    if _git(folder, "status", "--porcelain", "--", name):
        raise InputError(f"{file} has changed since its last commit; commit the change, or undo it")
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    return CommittedProtocol(load_settings(schema, file), sha256)


def promised(file: Path, setting: str) -> bool:
    """Whether the protocol of a file, committed or not, names a setting; False if there is no such file."""
    return file.is_file() and setting in load_settings(Protocol, file).settings


def promised_cells(file: Path, setting: str) -> int:
    """Runs for each base model that the third protocol of a file promises about a setting; 0 if none."""
    if not file.is_file():
        return 0
    protocol = load_settings(ThirdProtocol, file)
    return len(protocol.cells) * protocol.seeds if setting in protocol.settings else 0


def code_version() -> str:
    """The commit of the code, with `+` if files differ from it; the version where there is no checkout."""
    folder = Path(__file__).resolve().parent
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return __version__
    return commit + ("+" if _git(folder, "status", "--porcelain", "--untracked-files=no") else "")


def _git(folder: Path, *arguments: str) -> str | None:
    """What git prints; None if it fails or is missing."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=60, check=False
        )
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
