"""Text, sizes and models of projects that tests make."""

from dmix.cli.workflows.start.project_files import Checkpoint
from dmix.cli.workflows.start.sizes import FieldText, Sizes


def text(**changes):
    values = {
        "inputs": ("/data/a b.jsonl",),
        "size_bytes": 4_000_000,
        "feedback": 8,
        "judging": 8,
        "copied": False,
        "whole": 0,
        "rejected": {},
    }
    return FieldText(**values | changes)


def fields(source=None, target=None):
    return {"source": source or text(), "target": target or text()}


SIZES = Sizes(
    seq_len=128, batch_size=8, samples_per_step=16, steps=4, tokens_per_second=1000.0, scored_tokens=3000
)
SCRATCH = Checkpoint(name=None, parameters=None, max_positions=None)
GIVEN = Checkpoint(name="org/a model", parameters=10, max_positions=1024, bf16=("AMX",))
