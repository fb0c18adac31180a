"""The stages of the way; each calls a command of dmix, or reads what one left.

Each command is a process of its own with one thread, as a user would start it.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.provenance import commit_of, machine_name
from benchmarks.real_model.text import TextSize, write_text

SEQ_LEN = 128
BATCH = 4
# one core of a 2-core AMD EPYC: tokens trained, read and written in a second
TRAINS, READS, WRITES = 45, 145, 60
ITEM_TOKENS = 130


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is done.

    Attributes:
        name: Of the file of rows.
        targets: Fields to learn.
        seeds: Runs a controller.
        controllers: What steers, as `dmix train` names it.
        steps: Steps of a run.
        step_samples: Samples of a step.
        text: How much text there is.
        eval_items: Items of each local task.
        eval_tasks: Files of the reference data's `eval/`.
        documents: Documents that the model writes, of at most `document_tokens` tokens.
        document_tokens: Length cap of a written document.
    """

    name: str
    targets: tuple[str, ...]
    seeds: int
    controllers: tuple[str, ...]
    steps: int
    step_samples: int
    text: TextSize
    eval_items: int
    eval_tasks: tuple[str, ...]
    documents: int
    document_tokens: int

    @property
    def run_tokens(self) -> int:
        """Tokens of a run."""
        return self.steps * self.step_samples * SEQ_LEN


SIZES = {
    "smallest": Size(
        name="smallest",
        targets=("math",),
        seeds=1,
        controllers=("natural", "plan:counts"),
        steps=4,
        step_samples=8,
        text=TextSize(documents=60, feedback_items=5, judge_items=5, every_origin=False),
        eval_items=10,
        eval_tasks=("arc_easy_test",),
        documents=32,
        document_tokens=64,
    ),
    "table": Size(
        name="table",
        targets=("math", "code"),
        seeds=3,
        controllers=("natural", "naive", "plan:counts", "agent:dmix-base"),
        steps=6,
        step_samples=32,
        text=TextSize(documents=400, feedback_items=5, judge_items=20, every_origin=True),
        eval_items=50,
        eval_tasks=("arc_easy_test", "mmlu_redux", "boolq_valid"),
        documents=512,
        document_tokens=256,
    ),
}


def expected_minutes(size: Size, stages: list[str]) -> float:
    """Minutes of one core that stages take, from the speeds at the top of this file."""
    scoring = 4 * size.text.feedback_items * ITEM_TOKENS / READS
    judging = 4 * size.text.judge_items * ITEM_TOKENS / READS
    evaluation = len(size.eval_tasks) * size.eval_items * 4 * 50 / READS
    seconds = {
        "run": size.run_tokens / TRAINS + (size.steps + 1) * scoring + 60,
        "judge": judging + 15,
        "eval": evaluation + 30,
        "start-state": size.documents * size.document_tokens / WRITES + 30,
        "synthesize": size.documents * size.document_tokens / WRITES + 30,
    }
    return sum(seconds.get(stage.split("/")[0], 20) for stage in stages) / 60


class Way:
    """One way of a size; rows that are there are not made again."""

    def __init__(self, *, size: Size, data: Path, work: Path, model: Path, results: Path) -> None:
        self.size, self.data, self.work, self.model = size, data, work, model
        self.rows_file = results / f"{size.name}.jsonl"

    def names(self) -> list[str]:
        """All stages, in order."""
        return list(self._stages())

    def missing(self) -> list[str]:
        """Stages without a row."""
        done = {row["stage"] for row in self._rows()}
        return [name for name in self._stages() if name not in done]

    def run(self) -> int:
        """Runs what is missing, each stage once; returns how many failed."""
        self.work.mkdir(parents=True, exist_ok=True)
        failed = 0
        stages = self._stages()
        for name in self.missing():
            load, started, cpu = round(os.getloadavg()[0], 1), time.perf_counter(), _children_seconds()
            try:
                figures = stages[name]()
            except (subprocess.CalledProcessError, OSError, ValueError, KeyError) as error:
                failed += 1
                said = getattr(error, "stderr", None) or str(error)
                print(f"{name} failed: {said.strip()[-800:]}", file=sys.stderr)
                if name.startswith(("text", "shard")):
                    break
                continue
            self._keep(
                name,
                figures,
                seconds=round(time.perf_counter() - started, 1),
                core_seconds=round(_children_seconds() - cpu, 1),
                load_before=load,
            )
        return failed

    def _stages(self) -> dict[str, Callable[[], dict[str, Any]]]:
        stages: dict[str, Callable[[], dict[str, Any]]] = {}
        for target in self.size.targets:
            stages[f"text/{target}"] = partial(self._text, target)
            stages[f"shard/{target}"] = partial(self._shard, target)
            stages[f"refusal/{target}"] = partial(self._refusal, target)
            stages[f"plan/{target}"] = partial(self._plan, target)
            stages[f"judge/{target}/start"] = partial(self._judge, target, self.model)
            for seed in range(self.size.seeds):
                for controller in self.size.controllers:
                    run = f"{target}-{controller.replace(':', '-')}-{seed}"
                    stages[f"run/{run}"] = partial(self._run, target, controller, seed, run)
                    stages[f"judge/{run}"] = partial(self._judge_run, target, run)
                    stages[f"eval/{run}"] = partial(self._eval, target, run, step=None)
            first = f"{target}-{self.size.controllers[0].replace(':', '-')}-0"
            stages[f"eval/{target}/start"] = partial(self._eval, target, first, step="0")
            stages[f"loads/{target}"] = partial(self._loads, target, first)
            stages[f"report/{target}"] = partial(self._report, target)
        stages["synthesize"] = self._synthesize
        stages["start-state"] = self._start_state
        return stages

    # ---- stages

    def _text(self, target: str) -> dict[str, Any]:
        folder = self.work / target
        taken = write_text(self.data, folder, target=target, size=self.size.text)
        (folder / "training.yaml").write_text(
            f"batch_size: {BATCH}\nlearning_rate: 3.0e-5\ncheckpoint_steps: {self.size.steps}\n"
            "checkpoints_kept: 1\n"
        )
        self._dmix(
            target, "etl", "classify", "--source", folder / "source", "--target", folder / "target",
            "--classifier", "column:origin", "--taxonomy", "from-data",
        )  # fmt: skip
        return {"documents": taken}

    def _shard(self, target: str) -> dict[str, Any]:
        folder = self.work / target
        for name, tokenizer in (("own", str(self.model)), ("other", "embedded")):
            self._dmix(
                target, "etl", "shard", "--tokenizer", tokenizer, "--seq-len", str(SEQ_LEN), "--name", name,
                "--environment", folder / "feedback.yaml", "--environment", folder / "judge.yaml",
            )  # fmt: skip
        return {}

    def _refusal(self, target: str) -> dict[str, Any]:
        """A dataset whose tokenizer is not the model's is refused, and says so."""
        done = self._call(
            target, "train", "--model", self.model, "--dataset", "other", "--controller", "natural",
            "--dry-run",
        )  # fmt: skip
        if done.returncode != 2 or "tokenizer" not in done.stderr:
            raise ValueError(f"another tokenizer was not refused (exit {done.returncode}): {done.stderr}")
        return {
            "exit": done.returncode,
            "said": done.stderr.strip().splitlines()[-1].replace(str(self.model), "MODEL"),
        }

    def _plan(self, target: str) -> dict[str, Any]:
        environment = self.work / target / "feedback.yaml"
        self._dmix(
            target, "mix", "probe", "--dataset", "own", "--environment", environment, "--name", "counts",
        )  # fmt: skip
        plan = self._json(
            target, "mix", "plan", "--dataset", "own", "--probe", "counts", "--out",
            self.work / target / "plan.yaml", "--samples", str(self.size.steps * self.size.step_samples),
            "--json",
        )  # fmt: skip
        return {"plan": plan}

    def _run(self, target: str, controller: str, seed: int, run: str) -> dict[str, Any]:
        folder = self.work / target
        if (folder / "warehouse" / "runs" / run).is_dir():
            arguments = ["--resume", "--run", run]
        else:
            who = (
                ["--agent", controller[6:]]
                if controller.startswith("agent:")
                else ["--controller", controller]
            )
            arguments = [
                "--model", self.model, "--dataset", "own", "--environment", folder / "feedback.yaml",
                "--training", folder / "training.yaml", *who, "--run", run, "--steps", str(self.size.steps),
                "--samples-per-step", str(self.size.step_samples), "--exhaustion", "repeat",
                "--seed", str(seed),
            ]  # fmt: skip
        return {"summary": self._json(target, "train", *arguments, "--json")}

    def _judge_run(self, target: str, run: str) -> dict[str, Any]:
        return self._judge(target, self._result(target, run))

    def _judge(self, target: str, model: Path) -> dict[str, Any]:
        done = self._python(
            "-m", "benchmarks.real_model.judge", "--model", model,
            "--warehouse", self.work / target / "warehouse", "--dataset", "own",
            "--environment", self.work / target / "judge.yaml",
        )  # fmt: skip
        scores: dict[str, Any] = json.loads(done.stdout)
        return {"scores": scores}

    def _eval(self, target: str, run: str, *, step: str | None) -> dict[str, Any]:
        items = [
            part
            for task in self.size.eval_tasks
            for part in ("--items", self.data / "eval" / f"{task}.jsonl.gz")
        ]
        chosen = [] if step is None else ["--step", step]
        found = self._json(
            target, "eval", "--run", run, *chosen, *items, "--limit", str(self.size.eval_items), "--json"
        )
        return {"evaluations": found}

    def _loads(self, target: str, run: str) -> dict[str, Any]:
        code = (
            "import sys; from transformers import AutoModelForCausalLM as M, AutoTokenizer as T\n"
            "m = M.from_pretrained(sys.argv[1]); t = T.from_pretrained(sys.argv[1])\n"
            "i = t('The capital of France is', return_tensors='pt', add_special_tokens=False)\n"
            "print(t.decode(m.generate(**i, max_new_tokens=8, do_sample=False)[0]))"
        )
        done = self._python("-c", code, self._result(target, run))
        return {"wrote": done.stdout.strip()}

    def _report(self, target: str) -> dict[str, Any]:
        page = self.work / target / "report.html"
        self._dmix(target, "report", "--out", page)
        return {"bytes": page.stat().st_size}

    def _start_state(self) -> dict[str, Any]:
        found = self._json(
            self.size.targets[0], "etl", "start-state", "--from", "model", "--model", self.model,
            "--name", "model", "--min-documents", str(self.size.documents), "--max-documents",
            str(self.size.documents), "--block-documents", "32",
            "--max-tokens", str(self.size.document_tokens), "--json",
        )  # fmt: skip
        return {"start_state": found}

    def _synthesize(self) -> dict[str, Any]:
        out = self.work / "written"
        found = self._json(
            None, "etl", "synthesize", "--model", self.model, "--out", out, "--documents",
            f"0:{self.size.documents}", "--block-documents", "32", "--max-tokens",
            str(self.size.document_tokens), "--json",
        )  # fmt: skip
        return {"synthesis": found}

    # ---- commands

    def _result(self, target: str, run: str) -> Path:
        return self.work / target / "warehouse" / "runs" / run / "model"

    def _call(self, target: str | None, *arguments: object) -> "subprocess.CompletedProcess[str]":
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
        if target is not None:
            environment["DMIX_WAREHOUSE"] = str(self.work / target / "warehouse")
        code = "import sys; from dmix.cli.main import main; sys.exit(main())"
        return subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)],
            check=False,
            env=environment,
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
        )

    def _dmix(self, target: str | None, *arguments: object) -> str:
        done = self._call(target, *arguments)
        if done.returncode:
            raise ValueError(
                f"dmix {' '.join(map(str, arguments))}: exit {done.returncode}: {done.stderr[-600:]}"
            )
        return done.stdout

    def _json(self, target: str | None, *arguments: object) -> Any:
        return json.loads(self._dmix(target, *arguments))

    def _python(self, *arguments: object) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, *map(str, arguments)],
            env={**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=True,
        )

    # ---- rows

    def _rows(self) -> list[dict[str, Any]]:
        if not self.rows_file.is_file():
            return []
        return [json.loads(line) for line in self.rows_file.read_text().splitlines()]

    def _keep(self, name: str, figures: dict[str, Any], **spent: float) -> None:
        row = {
            "stage": name,
            "commit": commit_of(),
            "machine": machine_name(),
            "date": f"{datetime.now(UTC):%Y-%m-%d}",
            **spent,
            **figures,
        }
        self.rows_file.parent.mkdir(parents=True, exist_ok=True)
        with self.rows_file.open("a") as file:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
        print(f"{name}: {spent['seconds']} s", file=sys.stderr)


def _children_seconds() -> float:
    times = os.times()
    return times.children_user + times.children_system
