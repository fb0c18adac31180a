"""Whether inputs of a corpus were written by a model, and what is known of how.

`dmix etl synthesize` notes in each of its files what it is (`etl.synthetic.blocks`); a file is looked
at if its name is that of a block. A corpus is synthetic as soon as one of its inputs is.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from dmix.etl.synthetic.blocks import BlockFacts, block_facts
from dmix.warehouse_schema.files.manifests import InputFile

_COUNTS = ("generated", "kept", "empty", "capped", "tokens", "tokens_kept")


def generation_of(inputs: Sequence[InputFile]) -> Mapping[str, Any] | None:
    """Models and counts of the inputs that a model wrote; None if there is no such input.

    Counts are sums over those inputs; `max_tokens` is the largest of their length caps, and
    `quality` lists what judged them.
    """
    found = [facts for source in inputs if (facts := _facts(source)) is not None]
    if not found:
        return None
    return {
        "models": sorted({facts.model for facts in found}),
        "quality": ", ".join(sorted({facts.quality for facts in found})),
        "max_tokens": max(facts.max_tokens for facts in found),
        **{name: sum(getattr(facts, name) for facts in found) for name in _COUNTS},
    }


def _facts(source: InputFile) -> BlockFacts | None:
    if not re.fullmatch(r"block-\d{8}\.parquet", PurePath(source.path).name):
        return None
    return block_facts(source.path)
