"""Refusals that need no heavy library do not wait for one."""

import json
import subprocess
import sys

HEAVY = {"torch", "pyspark", "composer", "transformers", "streaming", "d3rlpy"}
CASES = [
    (["train", "--controller", "natural"], "--model is missing"),
    (["train", "--model", "m.yaml"], "none was given; give exactly one"),
    (["train", "--resume"], "--resume needs the run"),
    (["train", "--model", "m.yaml", "--controller", "natural"], "no dataset"),
    (["train", "base", "--model", "m.yaml", "--tokens", "9", "--name", "b"], "no dataset"),
    (["mix", "collect", "--set", "none", "--environment", "e.yaml"], "set 'none'"),
    (["agent", "sft", "--set", "none", "--agent", "a"], "set 'none'"),
    (["agent", "rl", "--set", "none", "--agent", "a"], "set 'none'"),
    (["agent", "clone", "--set", "none", "--agent", "a"], "set 'none'"),
    (["agent", "evaluate", "--set", "none", "--agent", "a"], "set 'none'"),
    (["etl", "classify"], "no input given"),
    (["eval", "--run", "r"], "nothing to evaluate on"),
]


def test_refusals_come_before_heavy_imports(tmp_path):
    given = [[*arguments, "--warehouse", str(tmp_path)] for arguments, _ in CASES]
    code = (
        "import contextlib, io, json, sys\n"
        "from dmix.cli.main import run\n"
        "found = []\n"
        f"for arguments in {given!r}:\n"
        "    with contextlib.redirect_stderr(io.StringIO()) as said:\n"
        "        found.append([run(arguments), said.getvalue()])\n"
        "print(json.dumps([found, list(sys.modules)]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found, modules = json.loads(done.stdout)
    for (arguments, message), (exit_code, said) in zip(CASES, found, strict=True):
        assert exit_code == 2 and message in said, arguments
    assert HEAVY & set(modules) == set()
