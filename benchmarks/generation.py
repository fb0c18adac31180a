"""How fast a model writes on this machine, beside what its memory allows; made for a GPU.

    python -m benchmarks.generation [--sizes 0.1B,0.4B,1.2B] [--documents 64,512] [--tokens 128]

Models of the shapes of Pythia with random weights and the embedded tokenizer (8,192 ids): what they
write is noise of full length, and costs what any text of theirs would. Each pair of size and batch
writes one block as `dmix etl synthesize` does, without a judge; the limit is that of its report. Then
the smallest model writes a block twice, in two processes, to see whether the bytes are the same, and
which GPU each of them took. Rows go to `benchmarks/results/generation-MACHINE.jsonl`.
"""

import argparse
import concurrent.futures
import dataclasses
import hashlib
import json
import multiprocessing
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from benchmarks.provenance import RESULTS, commit_of, machine_name
from transformers import AutoModelForCausalLM, GPTNeoXConfig, PreTrainedTokenizerFast

from dmix.etl.quality.judges import NO_QUALITY
from dmix.etl.quality.settings import QualitySettings
from dmix.etl.synthetic.bandwidth import copy_bandwidth
from dmix.etl.synthetic.blocks import block_name
from dmix.etl.synthetic.generation_settings import GenerationSettings
from dmix.etl.synthetic.synthesize import plan_synthesis, run_here, synthesize
from dmix.etl.text.tokens import load_tokenizer

# layers, width, heads of Pythia-160m, 410m and 1.4b; named by the weights that are left with 8,192 ids
SHAPES = {"0.1B": (12, 768, 12), "0.4B": (24, 1024, 16), "1.2B": (24, 2048, 16)}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sizes", default=",".join(SHAPES), help=f"of {', '.join(SHAPES)}")
    parser.add_argument("--documents", default="64,512", help="documents of a block, one batch")
    parser.add_argument("--tokens", type=int, default=128, help="length cap of a document")
    parser.add_argument("--out", type=Path, default=RESULTS / f"generation-{machine_name()}.jsonl")
    parser.add_argument("--commit", help="where the code is from, on a machine without its repository")
    arguments = parser.parse_args()
    sizes = arguments.sizes.split(",")
    batches = [int(number) for number in arguments.documents.split(",")]
    bandwidth = copy_bandwidth()
    facts = {
        "commit": arguments.commit or commit_of(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "torch": torch.__version__,
        "tokens": arguments.tokens,
    }
    with tempfile.TemporaryDirectory(prefix="dmix-generation-") as folder:
        models = {size: save_model(Path(folder, size), *SHAPES[size]) for size in sizes}
        rows = [
            {
                **facts,
                "size": size,
                "documents": number,
                **measured(models[size], arguments.tokens, number, bandwidth),
            }
            for size in sizes
            for number in batches
        ]
        rows.append({**facts, "size": sizes[0], **written_twice(models[sizes[0]], arguments.tokens)})
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    with arguments.out.open("a") as file:
        for row in rows:
            file.write(json.dumps(row) + "\n")
            print(json.dumps(row))


def save_model(folder: Path, layers: int, width: int, heads: int) -> Path:
    """Writes a GPT-NeoX of random weights with the embedded tokenizer; returns its folder."""
    tokenizer = load_tokenizer("embedded")
    config = GPTNeoXConfig(
        vocab_size=tokenizer.vocab_size,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        max_position_embeddings=2048,
        bos_token_id=tokenizer.eot_id,
        eos_token_id=tokenizer.eot_id,
    )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with torch.device(device):
        torch.manual_seed(0)
        network = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    network.save_pretrained(folder)
    (folder / "tokenizer.json").write_bytes(tokenizer.json_bytes)
    saved = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    saved.add_special_tokens({"bos_token": tokenizer.eot_token, "eos_token": tokenizer.eot_token})
    saved.save_pretrained(folder)
    return folder


def measured(model: Path, tokens: int, documents: int, bandwidth: float) -> dict[str, Any]:
    """Speed of one block, after a short one that loads the model and warms the device up."""
    for cap in (8, tokens):
        with tempfile.TemporaryDirectory(prefix="dmix-generation-") as out:
            plan = plan_synthesis(
                str(model),
                out=Path(out),
                settings=GenerationSettings(max_tokens=cap, block_documents=documents),
                quality=QualitySettings(quality=NO_QUALITY),
                documents=(0, documents),
            )
            result = synthesize(plan, run=run_here, progress=str, bandwidth=lambda: bandwidth)
    assert result.speed is not None  # the block was written by this call
    return {"written": result.facts.tokens, **dataclasses.asdict(result.speed)}


def written_twice(model: Path, tokens: int) -> dict[str, Any]:
    """What two processes that live at the same time wrote for the same block, and where."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
        jobs = [pool.submit(one_block, str(model), tokens) for _ in range(2)]
        found = [job.result() for job in jobs]
    return {"same_bytes": found[0][0] == found[1][0], "devices": [device for _, device in found]}


def one_block(model: str, tokens: int) -> tuple[str, str]:
    """(SHA-256 of a block's file, device that wrote it)."""
    with tempfile.TemporaryDirectory(prefix="dmix-generation-") as out:
        plan = plan_synthesis(
            model,
            out=Path(out),
            settings=GenerationSettings(max_tokens=tokens),
            quality=QualitySettings(quality=NO_QUALITY),
            documents=(0, 64),
        )
        synthesize(plan, run=run_here, progress=str, bandwidth=lambda: 1.0)
        digest = hashlib.sha256(Path(out, block_name(0)).read_bytes()).hexdigest()
    return digest, f"cuda:{torch.cuda.current_device()}" if torch.cuda.is_available() else "cpu"


if __name__ == "__main__":
    main()
