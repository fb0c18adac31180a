"""Wrong ranges and speeds are refused before a model is looked for."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from dmix.cli.workflows.data.synthesize import _made_result, _range, synthesize_text
from dmix.warehouse_schema.errors import InputError


def test_a_range_of_documents_is_first_and_stop():
    assert _range("64:128") == (64, 128)
    assert _range(None) is None


@pytest.mark.parametrize("given", ["64", "a:b", ":64", "-1:64", ""])
def test_what_is_no_range_is_refused_with_an_example(given):
    with pytest.raises(InputError, match="FIRST:STOP"):
        _range(given)


@pytest.mark.parametrize("bandwidth", [0.0, -1.0])
def test_a_speed_of_memory_is_above_zero(bandwidth):
    with pytest.raises(InputError, match="expected above 0"):
        synthesize_text(
            model="nowhere",
            out=Path("out"),
            generation=None,
            quality=None,
            bandwidth=bandwidth,
            executor=None,
            progress=print,
        )


@pytest.mark.parametrize(("kept", "said"), [(2, True), (30, False)])
def test_text_that_is_mostly_dropped_says_why_and_how_to_keep_it(kept, said):
    facts = SimpleNamespace(
        generated=48, kept=kept, share_kept=kept / 48, empty=1, capped=44, tokens=900, tokens_kept=200
    )
    made = SimpleNamespace(facts=facts, blocks=6, made=6, speed=None)
    lines = [block for block in _made_result(made, {"out": "spoken"}).blocks if isinstance(block, str)]
    assert any("dropped 45 of 48 documents" in line and "--quality none" in line for line in lines) is said
    assert lines[-1] == "next: dmix etl classify --source spoken"
