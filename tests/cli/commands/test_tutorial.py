"""The tutorial's commands, one after the other, on a small folder of text; numbers alone are smaller."""

import re
import shlex
from pathlib import Path

import pytest

from dmix.cli.main import run
from dmix.etl.demo.corpus import write_demo_corpus

PAGE = Path(__file__).parents[3] / "docs" / "tutorial.md"
SMALLER = {"--tokens": "8000", "--seq-len": "64"}
# what the commands would take for long otherwise
MORE = {
    ("mix", "sample"): ["--steps", "3", "--candidates", "200", "--top-k", "1"],
    ("agent", "sft"): ["--epochs", "2"],
    ("agent", "rl"): ["--steps", "20", "--returns-steps", "20", "--simulator-steps", "20"],
    ("agent", "evaluate"): ["--repeats", "1", "--fqe-steps", "20", "--simulator-steps", "20"],
    ("train", "--model"): ["--steps", "3"],
}


def parts(page):
    """(language, content) of the code blocks of a page, in order."""
    return re.findall(r"```(bash|yaml)\n(.*?)```", page.read_text(encoding="utf-8"), re.S)


def smaller(words):
    words = [SMALLER.get(before, word) for before, word in zip(["", *words[:-1]], words, strict=True)]
    words = ["3" if word == "16" and words[i - 1] == "--step" else word for i, word in enumerate(words)]
    return [*words, *MORE.get(tuple(words[:2]), [])]


@pytest.mark.slow
@pytest.mark.usefixtures("spark")
def test_every_command_of_the_tutorial_works_after_the_ones_before_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_demo_corpus(tmp_path / "data", seed=0, documents=300)
    (tmp_path / "data" / "evaluation").rename(tmp_path / "items")
    done = []
    for language, content in parts(PAGE):
        if language == "yaml":
            (tmp_path / content.splitlines()[0].removeprefix("# ")).write_text(content)
            continue
        for line in content.replace("\\\n", " ").splitlines():
            first, *words = shlex.split(line.partition(" #")[0])
            if first == "export":
                monkeypatch.setenv(*words[0].split("=", 1))
                continue
            words = smaller(words)
            assert run(words) == 0, words
            done.append(words[0])
    assert len(done) > 15 and (tmp_path / "report.html").is_file()
