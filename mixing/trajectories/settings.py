"""Settings of `dmix mix sample`: two presets, and what a user changes of them (method §2)."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from dmix.mixing.space.budget import auto_step_samples
from dmix.mixing.space.domains import DomainSpace
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.settings import check_range, setting, whole_number

PRESETS = ("default", "paper")
_TOP_K = (1, 100, 1_000, 10_000)
_PATHS = {"paper": 96, "default": 21}
_STEPS = {"paper": 80, "default": 16}
_DEFAULT_RANDOM_PATHS = 44

# Far above what a farm trains, and what a step compares; a plan lists every path.
_MOST_PATHS, _MOST_CANDIDATES = 100_000, 10_000_000


@dataclass(frozen=True, kw_only=True)
class SampleSettings:
    """What a set of trajectories is sampled with; None and () mean the preset's value."""

    preset: str = setting(
        "default",
        help="Version of Algorithm 1. 'paper' is the algorithm exactly as published. 'default' differs in "
        "three ways. It draws the shares of the fields (source and target) before the shares of the "
        "domains. It adds random paths. For --gamma, it compares a candidate only with the mixtures of "
        "earlier paths at the same step.",
        choices=PRESETS,
    )
    paths: int | None = setting(
        None,
        help="Number of trajectories (paths) for each value of --top-k. Default: 21. With preset "
        "'paper': 96.",
        most=_MOST_PATHS,
    )
    random_paths: int | None = setting(
        None,
        help="Number of random paths: trajectories with random mixtures. Two thirds of the random paths "
        "change the mixture at a few steps. The other third never changes the mixture. Default: 44. If you "
        "give --paths or --top-k: half the number of the other paths. With preset 'paper': 0.",
        most=_MOST_PATHS,
    )
    top_k: tuple[int, ...] = setting(
        (),
        help="Number of best candidate mixtures (K). Each step draws its mixture from these candidates. "
        "Repeat the flag for several values. Default: 1, 100, 1000 and 10000.",
    )
    steps: int | None = setting(
        None,
        help="Maximum number of steps per trajectory (M). Default: 16. With preset 'paper': 80.",
    )
    candidates: int = setting(
        20_000,
        help="Number of candidate mixtures per step. The default is the value in the paper.",
        most=_MOST_CANDIDATES,
    )
    alpha: float = setting(
        1.0,
        help="Weight (alpha) of the distance between a candidate mixture and the mixture of the previous "
        "step. A larger value keeps steps closer together. The paper gives no value.",
    )
    beta: float = setting(
        1.0,
        help="Weight (beta) of the distance between a candidate mixture and pure target text. This distance "
        "is a part of the candidate's score. The paper gives no value.",
    )
    gamma: float = setting(
        1.0,
        help="Weight (gamma) of the distance between a candidate mixture and earlier paths. This distance "
        "is a part of the candidate's score. The paper gives no value.",
    )
    samples_per_step: int | str = setting(
        "auto",
        help="Number of samples per step (R) for the proxies, the small models that train under the "
        "trajectories. 'auto' means the number that --run-samples-per-step auto gives.",
    )
    run_samples_per_step: int | str = setting(
        "auto",
        help="Number of samples per step (R) of the later run, in which an agent will choose the "
        "mixtures. A trajectory ends at the step at which the later run would have used up the target "
        "text. 'auto' means the smallest multiple of --batch-size with which natural mixing draws "
        "all target samples in --steps steps. Natural mixing gives every domain a share in proportion to "
        "its size.",
    )
    max_passes: int = setting(
        1,
        help="Maximum number of passes through each domain in the run of --run-samples-per-step. With 1, "
        "as in the paper, a trajectory ends when this run would have used up the target text. With more "
        "passes, a trajectory has all M steps. Give more than 1 for runs with --exhaustion repeat.",
    )
    batch_size: int = setting(
        32,
        help="Batch size (B) of the training run that will use the agent. "
        "--samples-per-step and --run-samples-per-step must be multiples of this number.",
    )
    seed: int = setting(0, help="Seed of the candidate mixtures and of the random paths.")

    def __post_init__(self) -> None:
        counts = ("paths", "steps", "candidates", "batch_size", "max_passes")
        check_range(self, *counts, least=1, flags=True)
        check_range(self, "alpha", "beta", "gamma", "seed", "random_paths", least=0, flags=True)
        if min(self.top_k, default=1) < 1:
            raise InputError(f"--top-k is {min(self.top_k)}, expected at least 1")
        if len(set(self.top_k)) < len(self.top_k):
            raise InputError(f"--top-k has a K twice: {', '.join(map(str, self.top_k))}; remove one")
        for k in self.top_k or _TOP_K:
            if k > self.candidates:
                raise InputError(
                    f"K is {k}, but a step has {self.candidates} candidates;"
                    " lower --top-k or raise --candidates"
                )
        for name in ("samples_per_step", "run_samples_per_step"):
            self._step_samples(name)

    def resolved(self, space: DomainSpace) -> "SampleSettings":
        """The same settings with every value of the preset and of `auto` written out.

        Raises:
            InputError: If a field has no samples.
        """
        # Read for their errors: Algorithm 1 starts at one and aims at the other.
        _ = space.start_N, space.target_state_N
        top_k = self.top_k or _TOP_K
        paths = _PATHS[self.preset] if self.paths is None else self.paths
        steps = _STEPS[self.preset] if self.steps is None else self.steps
        auto = auto_step_samples(space, steps, self.batch_size)
        return dataclasses.replace(
            self,
            top_k=top_k,
            paths=paths,
            steps=steps,
            random_paths=self._random_paths(paths * len(top_k)),
            samples_per_step=self._step_samples("samples_per_step") or auto,
            run_samples_per_step=self._step_samples("run_samples_per_step") or auto,
        )

    def required(self, name: str) -> int:
        """The number `name` of resolved settings."""
        value = getattr(self, name)
        assert isinstance(value, int), f"{name} is not resolved"
        return value

    def to_json(self) -> dict[str, Any]:
        """Plain values, as `set.json` keeps them; only of resolved settings."""
        return {**dataclasses.asdict(self), "top_k": list(self.top_k)}

    def _random_paths(self, inductive: int) -> int:
        if self.random_paths is not None:
            return self.random_paths
        if self.preset == "paper":
            return 0
        return _DEFAULT_RANDOM_PATHS if self.paths is None and not self.top_k else (inductive + 1) // 2

    def _step_samples(self, name: str) -> int | None:
        """R as a number, or None for `auto`; it must be a multiple of the batch."""
        given = getattr(self, name)
        flag = "--" + name.replace("_", "-")
        if given == "auto":
            return None
        value = whole_number(given, name=flag)
        lower = value // self.batch_size * self.batch_size
        if value != lower:
            near = f"{lower} or {lower + self.batch_size}" if lower > 0 else f"{self.batch_size}"
            raise InputError(
                f"{flag} is {value}, which is not a multiple of the batch of {self.batch_size}; use {near}"
            )
        return value
