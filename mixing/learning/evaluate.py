"""Judging an agent from a farm alone (off-policy), before it costs a run.

Three answers, each with what it is worth: fitted Q evaluation; learned simulators of the feedback
in which the agent runs beside natural shares and the farm's best trajectory; and how many of its
steps leave the guard limits that the farm's own steps give. Every training is a unit that is kept
until the report is written, so a call that was broken off goes on.
"""

import json
import logging
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmix.mixing.agent.agent import Agent
from dmix.mixing.agent.store import load_agent
from dmix.mixing.learning.fqe import fitted_value
from dmix.mixing.learning.outline import check_subject
from dmix.mixing.learning.settings.evaluate import EvaluateSettings
from dmix.mixing.offline.farm import Farm, load_farm
from dmix.mixing.space.domains import Array
from dmix.mixing.space.simplex import masked_mixture
from dmix.mixing.trajectories.guard import farm_limits, kl_of_steps
from dmix.mixing.world_model.learned_simulator import (
    Decide,
    LearnedSimulator,
    SimulatorSettings,
    fit_simulator,
)
from dmix.warehouse_schema.files.layout import Warehouse, publish_json, read_json

logger = logging.getLogger(__name__)


def load_subject(warehouse: Warehouse, *, set_name: str, agent_name: str) -> tuple[Farm, Agent]:
    """The farm with the tokens of the agent, and the agent.

    Raises:
        NotFoundError: If there is no such set or agent.
        InputError: If they do not fit, or the set has no feedback.
    """
    agent = load_agent(warehouse, agent_name)
    fixed = agent.config.fixed_space
    farm = load_farm(warehouse, set_name, preset=agent.config.preset, as_sets=not fixed)
    check_subject(
        agent.config,
        labels=farm.space.labels,
        objectives=farm.objectives,
        set_name=set_name,
        agent_name=agent_name,
    )
    return farm, agent


def evaluate_agent(
    warehouse: Warehouse,
    *,
    set_name: str,
    agent_name: str,
    settings: EvaluateSettings,
    progress: Callable[[str], None] = logger.info,
) -> dict[str, Any]:
    """The report on an agent, also written to `agents/<name>/evaluation-<set>.json`.

    Values are in the unit of the set's utility U; intervals are lowest and highest of the repeats.

    Raises:
        NotFoundError: If there is no such set or agent.
        InputError: If they do not fit, or the set has no feedback.
    """
    farm, agent = load_subject(warehouse, set_name=set_name, agent_name=agent_name)
    scratch = warehouse.root / f".evaluate-{Path(agent_name).name}-{set_name}.json"
    units = _Units(scratch, {**asdict(settings), "trained_at": agent.config.trained_at})
    seeds = range(settings.seed, settings.seed + settings.repeats)
    fqe = [
        units.get(
            f"fqe-{seed}",
            partial(fitted_value, agent, farm.episodes, settings=settings, seed=seed, progress=progress),
        )
        for seed in seeds
    ]
    runs = [
        units.get(f"simulator-{seed}", partial(_simulated, agent, farm, settings, seed, progress))
        for seed in seeds
    ]
    gains_E = farm.episodes.gains_E[farm.episodes.comparable_E].numpy()
    report = {
        "agent": agent_name,
        "set": set_name,
        "farm": {
            "trajectories": len(farm.episodes),
            "finished": len(gains_E),
            "mean_utility": float(gains_E.mean()) if len(gains_E) else None,
            "best_utility": float(gains_E.max()) if len(gains_E) else None,
        },
        "fitted_q": _spread(fqe),
        "learned_simulator": {
            "held_out_r2": np.mean([run["r2"] for run in runs], axis=0).tolist(),
            **{name: _spread([run[name] for run in runs]) for name in ("agent", "natural", "best_of_farm")},
        },
        "guard": _guard_report(farm, [np.asarray(run["mixtures"]) for run in runs], settings),
    }
    publish_json(warehouse.agent(Path(agent_name).name) / f"evaluation-{set_name}.json", report)
    scratch.unlink(missing_ok=True)
    return report


def policy_decision(agent: Agent, farm: Farm) -> Decide:
    """What the agent does after tokens, as a run would plan it."""

    def decide(mixtures_PSN: Array, tokens_PSX: NDArray[np.float32]) -> Array:
        chosen = [agent.next_mixture(tokens_SX, farm.space.active_N) for tokens_SX in tokens_PSX]
        return np.stack([masked_mixture(mixture_N, farm.space) for mixture_N in chosen])

    return decide


def schedule_decision(schedule_TN: Array) -> Decide:
    """Entry t of a schedule at step t, its last one after its end."""

    def decide(mixtures_PSN: Array, tokens_PSX: NDArray[np.float32]) -> Array:
        row = min(mixtures_PSN.shape[1], len(schedule_TN)) - 1
        return np.tile(schedule_TN[row], (len(mixtures_PSN), 1))

    return decide


def simulator_of(
    farm: Farm, agent: Agent, *, settings: EvaluateSettings, seed: int, progress: Callable[[str], None]
) -> LearnedSimulator:
    """A simulator with the widths of the settings and the agent's tokens."""
    return fit_simulator(
        replace(farm, preset=agent.config.preset),
        settings=SimulatorSettings(
            steps=settings.simulator_steps,
            batch_episodes=settings.batch_episodes,
            learning_rate=settings.simulator_learning_rate,
            width=settings.hidden_size,
            held_out=settings.held_out,
            seed=seed,
        ),
        progress=progress,
    )


def _simulated(
    agent: Agent,
    farm: Farm,
    settings: EvaluateSettings,
    seed: int,
    progress: Callable[[str], None],
) -> dict[str, Any]:
    """Mean utilities of the agent, of natural shares and of the farm's best schedule in a simulator."""
    simulator = simulator_of(farm, agent, settings=settings, seed=seed, progress=progress)
    best = farm.episodes.best(1e-9)
    best_TN = best.actions_ETN[0, : int(best.valid_mask_ET.sum())].double().numpy()
    deciders = {
        "agent": policy_decision(agent, farm),
        "natural": schedule_decision(farm.space.natural_N[None]),
        "best_of_farm": schedule_decision(best_TN),
    }
    rng = np.random.default_rng(seed)
    noise_PTD = rng.standard_normal((settings.runs, farm.context.steps, len(farm.scales_D)))
    runs = {name: simulator.run(decide, noise_PTD=noise_PTD) for name, decide in deciders.items()}
    mixtures_TN = runs["agent"].actions_ETN[0, : int(runs["agent"].valid_mask_ET[0].sum())].double().numpy()
    return {
        "r2": simulator.held_out_r2_D.tolist(),
        "mixtures": np.vstack([farm.space.start_N, mixtures_TN]).tolist(),
        **{name: float(made.gains_E.mean()) for name, made in runs.items()},
    }


def _guard_report(farm: Farm, runs: list[Array], settings: EvaluateSettings) -> dict[str, Any]:
    limits = farm_limits(farm.trajectories, quantile=settings.quantile)
    steps = np.concatenate([kl_of_steps(mixtures_SN) for mixtures_SN in runs])
    return {
        "largest_kl": limits.largest_kl,
        "steps_beyond_share": float((steps > limits.largest_kl).mean()),
    }


def _spread(values: list[float]) -> dict[str, float]:
    return {"mean": float(np.mean(values)), "low": min(values), "high": max(values)}


class _Units:
    """Results of finished trainings in one file, which counts only for the same settings."""

    def __init__(self, path: Path, identity: dict[str, Any]) -> None:
        self._path, self._identity = path, json.loads(json.dumps(identity))
        found = read_json(path) if path.is_file() else {}
        self._done: dict[str, Any] = found["units"] if found.get("identity") == self._identity else {}

    def get(self, name: str, compute: Callable[[], Any]) -> Any:
        if name not in self._done:
            self._done[name] = compute()
            publish_json(self._path, {"identity": self._identity, "units": self._done})
        return self._done[name]
