"""One rule says whether a change is larger than noise."""

import ast
from pathlib import Path

import pytest

from dmix.mixing.space.noise import NOISE_WIDTH, UNCHANGED_SHARE, beyond_noise

ROOT = Path(__file__).parents[3]
# What a plan hears of an effect is a promise, on one side alone, and no change that was measured.
EFFECTS = {"mixing/effects/prediction.py"}


@pytest.mark.parametrize(
    ("change", "stderr", "scale", "expected"),
    [
        (0.21, 0.1, None, True),
        (-0.21, 0.1, None, True),
        (0.2, 0.1, None, False),  # two standard errors
        (0.006, 0.0, None, True),
        (0.004, 0.0, None, False),  # two decimals show no change
        (0.11, None, 1.0, True),
        (0.1, None, 1.0, False),  # a tenth of the scale
        (0.004, None, 0.01, False),
        (0.3, 0.2, 1.0, False),  # a measured error counts, not the scale
        (9.0, None, None, False),
        (float("nan"), 0.1, None, False),
        (9.0, float("nan"), None, False),
    ],
)
def test_a_change_is_beyond_noise_by_its_error_else_by_the_scale(change, stderr, scale, expected):
    assert beyond_noise(change, stderr=stderr, scale=scale) is expected


def test_no_other_code_compares_a_change_with_its_error():
    """A comparison with a multiple of something called stderr, noise or spread is a second rule."""
    found = []
    for folder in ("cli", "mixing", "training"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if not isinstance(node, ast.Compare):
                    continue
                for product in ast.walk(node):
                    if not (isinstance(product, ast.BinOp) and isinstance(product.op, ast.Mult)):
                        continue
                    if str(path.relative_to(ROOT)) in EFFECTS:
                        continue
                    if any(word in ast.unparse(product) for word in ("stderr", "spread", "NOISE_WIDTH")):
                        found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert found == []


def test_the_rule_says_its_numbers():
    from dmix.training.evaluation.verdicts import RULE

    assert NOISE_WIDTH == 2 and "two standard errors" in RULE and f"{UNCHANGED_SHARE:g}" in RULE
    assert "beyond noise" in (ROOT / "docs" / "guide" / "evaluate.md").read_text()
