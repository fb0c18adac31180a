"""How much of the comparison is run: `smoke` (a test), `small` (hours on two cores), `full` (a cluster)."""

from dataclasses import dataclass, field

from dmix.mixing.learning.settings.clone import CloneSettings
from dmix.mixing.learning.settings.rl import RlSettings
from dmix.mixing.learning.settings.sft import SftSettings
from dmix.training.comparison.data.study_paths import FARM
from dmix.warehouse_schema.errors import InputError

# First seeds of runs by purpose, far apart: nothing is judged on a seed that it was chosen on.
DRAW_SEED, FRESH_SEED, SCREENING_SEED, CONFIRMATION_SEED, YARDSTICK_SEED = 1_000, 2_000, 3_000, 4_000, 9_000
PROBE_SEED, EFFECTS_SEED, WORLDS_SEED, RIVALS_SEED, CELLS_SEED = 11_000, 12_000, 13_000, 14_000, 15_000
RUNGS_SEED = 16_000


@dataclass(frozen=True, kw_only=True)
class Tier:
    """Numbers of runs.

    Attributes:
        static: Static mixtures of the headroom study, the first ones of the farm.
        open_loop: Random schedules of the headroom study, the first ones of the farm.
        reruns: How many of the best static mixtures, and of the best schedules, are run again.
        rerun_seeds: Fresh seeds of each of those.
        noise_seeds: Runs under natural mixing that tell what the seed alone does; the first ones share
            the fresh seeds.
        inductive_paths: Trajectories of Algorithm 1 in the farm, for each K.
        top_k: Its K.
        random_paths: Static and piecewise-constant trajectories in the farm, a third of them static.
        candidates: Candidate mixtures per step of Algorithm 1.
        varied: Share of the farm's other trajectories whose proxy has another learning rate or
            subset of the source, so that feedback tells the agent something (method §3).
        controllers: Controllers of the screening: as `make_controller` takes them, or one of
            `best-static`, `best-open-loop`, `clone`, `sft` and `rl`, which the farm gives.
        beside: Controllers that are run beside them and never finalists: they learnt elsewhere.
        screening_seeds: Seeds of each controller.
        agent_seeds: Agents of each kind, which differ in their training's seed.
        confirmation_seeds: Fresh seeds of each finalist.
        paper_paths: Trajectories of Algorithm 1 for each K in the stage `paper`.
        tilts: Mixtures that objectives are tried on before any controller runs.
        tilt_seeds: Seeds of each of them on each base model.
        tilt_bases: Base models.
        fresh: Mixtures that the promises of effects are judged by.
        fresh_natural: Runs of natural mixing beside them.
        effect_bases: Base models whose effects are measured.
        world_seeds: Seeds of each controller in a held-out world.
        design: Mixtures that RegMix learns from under the third protocol; the tilts are the first of them.
        grid: Target shares that are tried, each on as many base models as the yardstick has.
        sft: How agents are fine-tuned.
        clone: How clones of the best trajectories are made.
        rl: How agents are trained by CQL.
    """

    static: int
    open_loop: int
    reruns: int
    rerun_seeds: int
    noise_seeds: int
    inductive_paths: int
    top_k: tuple[int, ...]
    random_paths: int
    candidates: int
    varied: float
    controllers: tuple[str, ...]
    beside: tuple[str, ...]
    screening_seeds: int
    agent_seeds: int
    confirmation_seeds: int
    paper_paths: int = 16
    tilts: int = 12
    tilt_seeds: int = 2
    tilt_bases: int = 2
    fresh: int = 12
    fresh_natural: int = 4
    effect_bases: int = 1
    world_seeds: int = 2
    design: int = 64
    grid: int = 5
    sft: SftSettings = field(default_factory=SftSettings)
    clone: CloneSettings = field(default_factory=CloneSettings)
    rl: RlSettings = field(default_factory=RlSettings)


_SMALL = (
    "naive",
    "natural",
    "best-static",
    "three-stage",
    f"regmix:{FARM}",
    "clone",
    "sft",
    "rl",
)
_SHIPPED = ("agent:dmix-base",)
TIERS = {
    "smoke": Tier(
        static=2,
        open_loop=2,
        reruns=1,
        rerun_seeds=1,
        noise_seeds=2,
        inductive_paths=1,
        top_k=(1, 100),
        random_paths=6,
        candidates=500,
        varied=0.5,
        controllers=("natural", "best-static", "clone", "sft", "rl"),
        beside=(),
        screening_seeds=1,
        agent_seeds=1,
        confirmation_seeds=1,
        paper_paths=2,
        tilts=3,
        fresh=3,
        fresh_natural=2,
        world_seeds=1,
        design=8,
        grid=2,
        sft=SftSettings(epochs=10, hidden_size=32, feedforward=64),
        clone=CloneSettings(epochs=3, hidden_size=32, feedforward=64),
        rl=RlSettings(
            steps=20,
            actor_delay=5,
            returns_steps=10,
            batch_episodes=4,
            hidden_size=32,
            feedforward=64,
            clone_epochs=3,
            imagined_every=10,
            imagined_runs=4,
            simulators=1,
            simulator_steps=20,
            simulator_width=8,
        ),
    ),
    "small": Tier(
        static=16,
        open_loop=16,
        reruns=3,
        rerun_seeds=4,
        noise_seeds=8,
        inductive_paths=4,
        top_k=(1, 100, 1_000, 10_000),
        random_paths=48,
        candidates=20_000,
        varied=0.5,
        controllers=_SMALL,
        beside=_SHIPPED,
        screening_seeds=3,
        agent_seeds=1,
        confirmation_seeds=5,
        # 64 trajectories teach no more than a small network holds, and it trains in minutes
        rl=RlSettings(
            steps=1000,
            critic_learning_rate=2e-3,
            hidden_size=64,
            feedforward=128,
        ),
    ),
    "full": Tier(
        static=64,
        open_loop=64,
        reruns=3,
        rerun_seeds=5,
        noise_seeds=20,
        inductive_paths=16,
        top_k=(1, 100, 1_000, 10_000),
        random_paths=192,
        candidates=20_000,
        varied=0.5,
        controllers=("stratified", *_SMALL, "best-open-loop"),
        beside=_SHIPPED,
        screening_seeds=5,
        agent_seeds=3,
        confirmation_seeds=20,
    ),
}


def tier_named(name: str) -> Tier:
    """The tier of a name.

    Raises:
        InputError: If there is none.
    """
    if name not in TIERS:
        raise InputError(f"tier is {name!r}, expected one of {', '.join(TIERS)}")
    return TIERS[name]
