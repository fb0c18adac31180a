"""`python -m benchmarks.etl.datatrove_side INPUTS OUT RANK WORLD TOKENIZER END`: datatrove's side.

Its reader and its tokenizer, END being the end-of-text token of TOKENIZER, a file.

One process of WORLD, in which datatrove takes every WORLD-th file. It prints `ready` when all is
imported and loaded, starts when a line arrives, and then prints one JSON line. Documents are not
shuffled and no metadata is written, which is the least that datatrove can do. Nothing of dmix is
imported, since that would count for datatrove's start-up.
"""

import json
import sys
import time
from pathlib import Path

from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.tokens import DocumentTokenizer
from loguru import logger


def main() -> None:
    inputs, out, rank, world, tokenizer, end_of_text = sys.argv[1:]
    logger.remove()
    step = tokenizing(out, tokenizer, end_of_text)
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


def tokenizing(out: str, tokenizer: str, end_of_text: str) -> DocumentTokenizer:
    return DocumentTokenizer(
        out,
        tokenizer,
        eos_token=end_of_text,
        shuffle_documents=False,
        save_final_metadata=False,
    )


if __name__ == "__main__":
    main()
