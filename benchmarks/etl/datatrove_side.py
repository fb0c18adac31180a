"""`python -m benchmarks.etl.datatrove_side INPUTS OUT RANK WORLD`: datatrove's reader and tokenizer.

One process of WORLD, in which datatrove takes every WORLD-th file. It prints `ready` when all is
imported and loaded, starts when a line arrives, and then prints one JSON line. Documents are not
shuffled and no metadata is written, which is the least that datatrove can do.
"""

import json
import sys
import time
from pathlib import Path

from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.tokens import DocumentTokenizer
from loguru import logger

from dmix.etl.text.tokens import EMBEDDED, EMBEDDED_PATH, load_tokenizer


def main() -> None:
    inputs, out, rank, world = sys.argv[1:]
    logger.remove()
    end_of_text = load_tokenizer(EMBEDDED).eot_token
    step = tokenizing(out, end_of_text)
    step.tokenizer.encode_batch(["a text"])
    print("ready", flush=True)
    sys.stdin.readline()
    started, before = time.perf_counter(), time.process_time()
    reader = JsonlReader(inputs, glob_pattern="*/*.jsonl")
    for _ in step.run(reader.run(rank=int(rank), world_size=int(world)), rank=int(rank)) or ():
        pass
    spent, wall = time.process_time() - before, time.perf_counter() - started
    written = sum(path.stat().st_size for path in Path(out).glob(f"{int(rank):05}*.ds"))
    print(json.dumps({"wall_seconds": wall, "processor_seconds": spent, "tokens": written // 2}))


def tokenizing(out: str, end_of_text: str) -> DocumentTokenizer:
    return DocumentTokenizer(
        out,
        str(EMBEDDED_PATH),
        eos_token=end_of_text,
        shuffle_documents=False,
        save_final_metadata=False,
    )


if __name__ == "__main__":
    main()
