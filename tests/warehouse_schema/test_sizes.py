import ast
import itertools
import re
from pathlib import Path

import pytest

from dmix.warehouse_schema.sizes import num_text, size_text

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (4_200, "4.2 kB"),
        (999_949, "999.9 kB"),
        (999_960, "1.0 MB"),
        (17e6, "17.0 MB"),
        (2.14e9, "2.1 GB"),
        (5e12, "5,000.0 GB"),
    ],
)
def test_sizes_have_the_unit_that_fits(size_bytes, text):
    assert size_text(size_bytes) == text


@pytest.mark.parametrize(
    ("count", "noun", "said"),
    [
        (1, "sample", "1 sample"),
        (0, "sample", "0 samples"),
        (2500, "sample", "2,500 samples"),
        (2, "batch", "2 batches"),
        (1, "pass", "1 pass"),
        (3, "pass", "3 passes"),
        (2, "more trajectory", "2 more trajectories"),
        (2, "day", "2 days"),
        (2, "corpus", "2 corpora"),
        (2, "proxy", "2 proxies"),
        (2, "box", "2 boxes"),
        (3, "epoch", "3 epochs"),
        (2, "batch", "2 batches"),
    ],
)
def test_a_number_has_its_noun_in_singular_or_plural(count, noun, said):
    assert num_text(count, noun) == said


@pytest.mark.parametrize(
    ("verb", "one", "many"),
    [
        ("are", "1 step is", "0 steps are"),
        ("were", "1 step was", "0 steps were"),
        ("have", "1 step has", "0 steps have"),
    ],
)
def test_a_verb_agrees_with_the_number(verb, one, many):
    assert (num_text(1, "step", verb), num_text(0, "step", verb)) == (one, many)


FOLDERS = ("cli", "etl", "mixing", "training", "warehouse_schema")
NOUNS = (
    "batches blocks checkpoints documents domains files groups items objectives parts probes proxies records "
    "runs samples shards steps tasks tokens trajectories"
)
BEHIND = re.compile(rf"\}}[\"'f\s]*\b({'|'.join(NOUNS.split())})\b")


def fixed_plurals(path):
    """Numbers of a file that have a plural behind them, whatever the number is."""
    text = path.read_text()
    if not BEHIND.search(text):  # parsing takes most of the time
        return
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.JoinedStr):
            for value, behind in itertools.pairwise(node.values):
                noun = (
                    behind.value.split()
                    if isinstance(behind, ast.Constant) and behind.value[:1] == " "
                    else []
                )
                if isinstance(value, ast.FormattedValue) and noun and noun[0].strip(",.;:)") in NOUNS.split():
                    yield f"{path.relative_to(ROOT)}:{value.lineno}: {ast.unparse(value.value)} {noun[0]}"


# Quantities that are rounded or above 1, and what is no number.
KNOWN = (
    *("quantity(", "tokens / task.tokens runs", "run_equivalents runs", "tokens_per_second tokens"),
    *("'all' if plan.budget.items is None", "tolist()[:3] samples"),
    *("FEWEST_DOCUMENTS documents", "sorted(lengths) samples", "sizes_D.tolist() items", "layer items"),
    *("suffix files", "code[0] runs", "steps_text(run) steps", "field tokens"),
    *("found samples", "supply samples"),  # quotients
)


def test_counts_of_messages_have_no_fixed_plural():
    files = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    found = [line for path in files for line in fixed_plurals(path)]
    assert len(files) > 300
    assert [line for line in found if not any(known in line for known in KNOWN)] == []
    assert all(any(known in line for line in found) for known in KNOWN)
