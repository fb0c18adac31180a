"""Scores of a model on programs that it writes, by evalplus, an optional dependency (`dmix[code]`).

evalplus is a program of its own that loads a model from a folder and runs what it writes. It
fetches its problems from the network, unless HUMANEVAL_OVERRIDE_PATH or MBPP_OVERRIDE_PATH name
files of them.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from dmix.training.evaluation.stored import Score
from dmix.warehouse_schema.errors import DmixError


def code_scores(
    task: str,
    network: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
) -> list[Score]:
    """Share of the problems that the model's first program solves, on the old and the added tests.

    The programs are run: `check_tasks` asks the user before.

    Raises:
        DmixError: If evalplus fails.
    """
    with tempfile.TemporaryDirectory(prefix="dmix-code-") as temporary:
        folder = Path(temporary)
        network.save_pretrained(folder / "model")
        tokenizer.save_pretrained(folder / "model")
        command = evalplus_command(task, folder / "model", results=folder / "results")
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        files = sorted((folder / "results").rglob("*eval_results.json"))
        if done.returncode or not files:
            last = (done.stderr.strip() or "no message").splitlines()[-1][:300]
            raise DmixError(
                f"evalplus failed on {task} ({last}). If evalplus cannot download its problems, set "
                f"{task.upper()}_OVERRIDE_PATH to a file of problems"
            )
        return pass_rates(task, json.loads(files[0].read_text(encoding="utf-8")))


def evalplus_command(task: str, model: Path, *, results: Path) -> list[str]:
    """The command line: one greedy program a problem, by transformers."""
    options = [
        "--model",
        str(model),
        "--dataset",
        task,
        "--backend",
        "hf",
        "--greedy",
        "--root",
        str(results),
    ]
    return [sys.executable, "-m", "evalplus.evaluate", *options]


def pass_rates(task: str, results: dict[str, Any]) -> list[Score]:
    """Share of problems whose first program passes: the benchmark's tests, and those and evalplus's.

    Args:
        task: Name of the benchmark.
        results: What evalplus writes; under `eval`, by problem, a list of programs.
    """
    programs = [found[0] for found in results["eval"].values()]
    base = [program["base_status"] == "pass" for program in programs]
    plus = [passed and p["plus_status"] == "pass" for passed, p in zip(base, programs, strict=True)]
    return [_share(task, base), _share(f"{task}_plus", plus)]


def _share(task: str, passed: list[bool]) -> Score:
    count = len(passed)
    share = sum(passed) / count
    stderr = (share * (1 - share) / (count - 1)) ** 0.5 if count > 1 else None
    return Score(task=task, metric="pass@1", value=share, stderr=stderr, items=count)
