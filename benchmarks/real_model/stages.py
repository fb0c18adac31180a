"""The stages of the way; each calls a command of dmix, or reads what one left.

Each command is a process of its own with one thread, as a user would start it.
"""

import gzip
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from fnmatch import fnmatch
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from benchmarks.provenance import commit_of, machine_name
from benchmarks.real_model.sizes import BATCH, SEQ_LEN, Size, precision_here, recipe_of
from benchmarks.real_model.text import write_text

# what the model saw between documents; an instruct model's BOS begins a turn of a chat
START_TOKEN = "<|endoftext|>"
EXCERPTS, EXCERPT_CHARACTERS = 10, 300


class Way:
    """One way of a size; rows that are there are not made again."""

    def __init__(self, *, size: Size, data: Path, work: Path, model: Path, results: Path) -> None:
        self.size, self.data, self.work, self.model = size, data, work, model
        self.rows_file = results / f"{size.name}.jsonl"

    def names(self) -> list[str]:
        """All stages, in order."""
        return list(self._stages())

    def missing(self) -> list[str]:
        """Stages without a row of their recipe."""
        done = {(row["stage"], row.get("recipe")) for row in self._rows()}
        return [name for name in self._stages() if (name, recipe_of(name, self.size)) not in done]

    def run(self, *, only: str = "*") -> int:
        """Runs what is missing, each stage once; returns how many failed.

        Args:
            only: Pattern that the names of stages match.
        """
        self.work.mkdir(parents=True, exist_ok=True)
        failed = 0
        stages = self._stages()
        for name in self.missing():
            if not fnmatch(name, only):
                continue
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
            for estimator in self.size.estimators:
                stages[f"effects/{target}/{estimator}"] = partial(self._effects, target, estimator)
                stages[f"plan/{target}/{estimator}"] = partial(self._plan, target, estimator)
            stages[f"judge/{target}/start"] = partial(self._judge, target, "--model", self.model)
            stages[f"eval/{target}/start"] = partial(self._eval, target, "--model", self.model)
            stages.setdefault("synthesize", self._synthesize)
            stages.setdefault("start-state", self._start_state)
            for seed in range(self.size.seeds):
                for controller in self.size.controllers:
                    stages |= self._run_stages(target, controller, seed)
            first = run_name(target, self.size.controllers[0], 0)
            stages[f"loads/{target}"] = partial(self._loads, target, first)
            stages[f"report/{target}"] = partial(self._report, target)
        return stages

    def _run_stages(self, target: str, controller: str, seed: int) -> dict[str, Callable[[], dict[str, Any]]]:
        run = run_name(target, controller, seed)
        middle = ("--run", run, "--step", self.size.middle)
        return {
            f"run/{run}": partial(self._run, target, controller, seed, run),
            f"judge/{run}/middle": partial(self._judge, target, *middle),
            f"judge/{run}/end": partial(self._judge, target, "--run", run, "--step", self.size.steps),
            f"eval/{run}": partial(self._eval_run, target, run),
        }

    # ---- stages

    def _text(self, target: str) -> dict[str, Any]:
        folder = self.work / target
        taken = write_text(self.data, folder, target=target, size=self.size.text)
        precision = precision_here()
        (folder / "training.yaml").write_text(
            f"batch_size: {BATCH}\nlearning_rate: 3.0e-5\ncheckpoint_steps: {self.size.middle}\n"
            f"checkpoints_kept: 2\nprecision: {precision}\n"
        )
        for task in self.size.answer_tasks:
            self._final_answers(folder, task)
        self._dmix(
            target, "etl", "classify", "--source", folder / "source", "--target", folder / "target",
            "--classifier", "column:origin", "--taxonomy", "from-data",
        )  # fmt: skip
        return {"documents": taken, "precision": precision}

    def _final_answers(self, folder: Path, task: str) -> None:
        """Items whose answer is what follows the last mark of a worked solution."""
        with gzip.open(self.data / "eval" / f"{task}.jsonl.gz", "rt", encoding="utf-8") as file:
            records = [json.loads(line) for line in islice(file, self.size.eval_items)]
        lines = [
            json.dumps(
                {
                    "question": f"Question: {record['question']}\nAnswer:",
                    "answer": record["answer"].rpartition("#### ")[2].strip(),
                }
            )
            for record in records
        ]
        (folder / f"{task}.jsonl").write_text("\n".join(lines) + "\n")

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
            "said": done.stderr.strip().splitlines()[-1],
        }

    def _effects(self, target: str, estimator: str) -> dict[str, Any]:
        folder = self.work / target
        of_model = ["--model", self.model]
        trained = [*of_model, "--training", folder / "training.yaml", "--samples", self._samples]
        how = {
            "counts": [],
            "model-counts": of_model,
            "gradient": ["--estimator", "gradient", "--max-hours", self.size.gradient_hours, *trained],
            "probe": ["--estimator", "probe", "--groups", 4, *trained],
        }[estimator]
        found = self._json(
            target, "mix", "probe", "--dataset", "own", "--environment", folder / "feedback.yaml",
            "--name", estimator, *how, "--json",
        )  # fmt: skip
        return {"effects": found}

    def _plan(self, target: str, estimator: str) -> dict[str, Any]:
        plan = self._json(
            target, "mix", "plan", "--dataset", "own", "--probe", estimator, "--out",
            self.work / target / f"plan-{estimator}.yaml", "--samples", self._samples, "--json",
        )  # fmt: skip
        return {"plan": {**plan, "file": Path(plan["file"]).name}}

    @property
    def _samples(self) -> int:
        return self.size.steps * self.size.step_samples

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

    def _judge(self, target: str, *which: object) -> dict[str, Any]:
        done = self._python(
            "-m", "benchmarks.real_model.judge", "--warehouse", self.work / target / "warehouse",
            "--dataset", "own", "--environment", self.work / target / "judge.yaml", *which,
        )  # fmt: skip
        scores: dict[str, Any] = json.loads(done.stdout)
        return {"scores": scores}

    def _eval(self, target: str, *which: object) -> dict[str, Any]:
        choices = [self.data / "eval" / f"{task}.jsonl.gz" for task in self.size.choice_tasks]
        answers = [self.work / target / f"{task}.jsonl" for task in self.size.answer_tasks]
        found = []
        for kind, files in (("multiple_choice", choices), ("qa", answers)):
            if files:
                items = [part for file in files for part in ("--items", file)]
                found += self._json(
                    target, "eval", *which, *items, "--kind", kind, "--limit", self.size.eval_items, "--json"
                )
        return {"evaluations": found}

    def _eval_run(self, target: str, run: str) -> dict[str, Any]:
        """Evaluates the result, and leaves of the run its weights and its facts: the rest takes 4 GB."""
        found = self._eval(target, "--run", run)
        shutil.rmtree(self.work / target / "warehouse" / "runs" / run / "checkpoints", ignore_errors=True)
        (self._result(target, run) / "optimizer.pt").unlink(missing_ok=True)
        return found

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
        """Shares of the domains in what the model writes, until they are known narrowly enough."""
        found = self._json(
            self.size.targets[0], "etl", "start-state", "--from", "model", *self._writer, "--name", "model",
            "--kl-bound", self.size.kl_bound, "--min-documents", 128, "--json",
        )  # fmt: skip
        return {"start_state": found}

    def _synthesize(self) -> dict[str, Any]:
        out = self.work / "written"
        found = self._json(
            None, "etl", "synthesize", *self._writer, "--out", out, "--documents",
            f"0:{self.size.documents}", "--json",
        )  # fmt: skip
        return {"synthesis": {**found, "out": out.name}, "excerpts": excerpts(out)}

    @property
    def _writer(self) -> list[object]:
        return ["--model", self.model, "--start-token", START_TOKEN, "--block-documents", 64,
                "--max-tokens", self.size.document_tokens]  # fmt: skip

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

    def _without_paths(self, text: str) -> str:
        return text.replace(str(self.work), "WORK").replace(str(self.model), "MODEL")

    def _keep(self, name: str, figures: dict[str, Any], **spent: float) -> None:
        row = {
            "stage": name,
            "recipe": recipe_of(name, self.size),
            "commit": commit_of(),
            "machine": machine_name(),
            "date": f"{datetime.now(UTC):%Y-%m-%d}",
            **spent,
            **figures,
        }
        self.rows_file.parent.mkdir(parents=True, exist_ok=True)
        with self.rows_file.open("a") as file:
            file.write(self._without_paths(json.dumps(row, ensure_ascii=False)) + "\n")
        print(f"{name}: {spent['seconds']} s", file=sys.stderr)


def _children_seconds() -> float:
    times = os.times()
    return times.children_user + times.children_system


def run_name(target: str, controller: str, seed: int) -> str:
    """Name of a run: target, what steers, seed."""
    return f"{target}-{controller.removeprefix('agent:').replace(':', '-')}-{seed}"


def excerpts(folder: Path) -> list[dict[str, Any]]:
    """The beginnings of the first documents of a folder that a model wrote, with how bad each is."""
    table = pq.read_table(sorted(folder.glob("*.parquet"))[0], columns=["text", "probability_low"])
    return [
        {"text": row["text"][:EXCERPT_CHARACTERS], "low": round(row["probability_low"], 3)}
        for row in table.slice(0, EXCERPTS).to_pylist()
    ]
