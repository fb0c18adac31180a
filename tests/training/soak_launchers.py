"""`dmix train` under the launchers that people use, on two and four ranks, sharded, and on two nodes.

Every unit compares with a run on one rank, and resumes on one what several had begun.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from tests.soak import SoakError, Unit
from tests.training.soak_kills import (
    MODEL,
    MOST_SECONDS,
    chains,
    clean_shared_memory,
    events_of,
    free_port,
    make_job,
    same,
    scores,
)

from dmix.warehouse_schema.files.layout import Warehouse


def under_a_launcher(folder: Path, *, launcher: list[str], ranks: int, **settings: Any) -> dict[str, Any]:
    """`dmix train` on ranks that a launcher starts, then resumed on one, against a run on one."""
    job = make_job(folder, "static")
    warehouse = Warehouse.at(folder / "warehouse")
    training = {"batch_size": 8, "learning_rate": 3e-3, **settings}
    (folder / "training.yaml").write_text(yaml.safe_dump(training))
    (folder / "model.yaml").write_text(yaml.safe_dump({"architecture": "llama", "config": MODEL}))
    (folder / "mixture.yaml").write_text("source: 1\ntarget/A: 2\n")
    options = [
        *("--model", folder / "model.yaml", "--training", folder / "training.yaml", "--steps", "6"),
        *("--environment", folder / "environment.yaml", "--controller", f"static:{folder / 'mixture.yaml'}"),
        *("--samples-per-step", "24", "--exhaustion", "repeat", "--warehouse", warehouse.root),
    ]
    binaries = Path(sys.executable).parent
    dmix = [binaries / "dmix", "train"]
    with clean_shared_memory(job):
        call([*dmix, *options, "--run", "one"])
        launched = [binaries / launcher[0], *launcher[1:], *dmix]
        call([*launched, *options, "--run", "many"])
        # as if the last step had not been saved: one rank takes it again, from what many had saved
        (warehouse.run("many") / "checkpoints" / "step6-ba18.pt").unlink()
        shutil.rmtree(warehouse.run("many") / "model")
        call([*dmix, "--warehouse", warehouse.root, "--run", "many", "--resume"])
    same("digest chain", chains(warehouse.run("many")), chains(warehouse.run("one")))
    after = [list(scores(warehouse.run(name)).values())[-1] for name in ("one", "many")]
    np.testing.assert_allclose(list(after[0].values()), list(after[1].values()), atol=1e-3)
    started = [e["world_size"] for e in events_of(warehouse.run("many"), "run_started")]
    resumed_from = [e["resumed_from_step"] for e in events_of(warehouse.run("many"), "run_started")]
    if resumed_from != [0, 5]:
        raise SoakError(f"attempts began after steps {resumed_from}, expected {[0, 5]}")
    if started != [ranks, 1] or not (warehouse.run("many") / "model" / "model.safetensors").is_file():
        raise SoakError(f"attempts had {started} ranks, expected {[ranks, 1]}, and a model at the end")
    return {"launcher": " ".join(map(str, launcher)), "ranks": ranks, **settings}


def on_two_nodes(folder: Path) -> dict[str, Any]:
    """`dmix train` on two nodes of one rank each, over a remote copy, against a run on one.

    A node is a process with a /dev/shm and a temporary folder of its own, so that the two share no
    memory, no locks and no cache, as machines do.
    """
    job = make_job(folder, "static")
    warehouse = Warehouse.at(folder / "warehouse")
    remote = {"streams_url": str(warehouse.root / "streams"), "cache_limit": "9kb", "loader_workers": 1}
    (folder / "model.yaml").write_text(yaml.safe_dump({"architecture": "llama", "config": MODEL}))
    (folder / "mixture.yaml").write_text("source: 1\ntarget/A: 2\n")
    binaries = Path(sys.executable).parent

    def command(run_id: str, training: dict[str, Any]) -> list[Any]:
        file = folder / f"{run_id}.yaml"
        file.write_text(yaml.safe_dump({"batch_size": 8, "learning_rate": 3e-3, **training}))
        return [
            *(binaries / "dmix", "train", "--warehouse", warehouse.root, "--run", run_id, "--steps", "6"),
            *("--model", folder / "model.yaml", "--controller", f"static:{folder / 'mixture.yaml'}"),
            *("--training", file, "--samples-per-step", "24", "--exhaustion", "repeat"),
        ]

    with clean_shared_memory(job):
        call(command("one", {}))
        port, nodes = free_port(), []
        for rank in (0, 1):
            place = [*("--world_size", "2", "--node_rank", rank, "--base_rank", rank)]
            place += ["--master_addr", "127.0.0.1", "--master_port", port]
            launched = [binaries / "composer", "-n", "1", *place, "-c", *command("many", remote)]
            nodes.append(start_node(launched, temporary=folder / f"node-{rank}"))
        said = [node.communicate(timeout=MOST_SECONDS)[1] for node in nodes]
    if any(node.returncode for node in nodes):
        raise SoakError(f"the nodes ended with {[node.returncode for node in nodes]}:\n{said[0][-3000:]}")
    same("digest chain", chains(warehouse.run("many")), chains(warehouse.run("one")))
    (started,) = events_of(warehouse.run("many"), "run_started")
    caches = [len(list((folder / f"node-{rank}").rglob("*.mds"))) for rank in (0, 1)]
    if started["world_size"] != 2 or not all(caches):
        raise SoakError(f"{started['world_size']} ranks took part, with {caches} shards in their caches")
    return {"nodes": 2, "shards_in_caches": caches, "chain": chains(warehouse.run("one"))[6]}


def start_node(command: list[Any], *, temporary: Path) -> subprocess.Popen[str]:
    """Starts a command that has /dev/shm and the temporary folder to itself."""
    temporary.mkdir()
    alone = ["unshare", "--map-root-user", "--mount"]
    alone += ["sh", "-c", 'mount -t tmpfs none /dev/shm && exec "$@"', "sh"]
    return subprocess.Popen(
        [*alone, *map(str, command)],
        env={**os.environ, "TMPDIR": str(temporary)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def call(command: list[Any]) -> None:
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False, timeout=MOST_SECONDS
    )
    if done.returncode:
        raise SoakError(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stderr[-3000:]}")


def _units() -> list[Unit]:
    runs: dict[str, Callable[[Path], dict[str, Any]]] = {}
    runs["launchers/composer-4-ranks"] = partial(
        under_a_launcher, launcher=["composer", "-n", "4", "-c"], ranks=4
    )
    runs["launchers/torchrun-2-ranks"] = partial(
        under_a_launcher,
        # torchrun takes --run for its own --run-path unless -- ends its options
        launcher=["torchrun", "--standalone", "--nproc-per-node", "2", "--no-python", "--"],
        ranks=2,
    )
    for kind, settings in (("full", {}), ("gradients", {"microbatch_size": 2})):
        runs[f"launchers/sharding-{kind}-2-ranks"] = partial(
            under_a_launcher, launcher=["composer", "-n", "2", "-c"], ranks=2, sharding=kind, **settings
        )
    runs["launchers/two-nodes"] = on_two_nodes
    return [Unit(name, run) for name, run in runs.items()]


UNITS = _units()
