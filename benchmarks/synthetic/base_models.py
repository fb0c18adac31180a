"""GPT-NeoX (Pythia-style) models of the study, pre-trained on its text.

A row begins with end-of-text and holds documents in a random order, each followed by end-of-text,
cut at a fixed length. A document's end tells nothing about the next one, as in a corpus that was
shuffled before it was packed; rows begin at a document, so that the lone start token is met too.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from benchmarks.make_assets.tokenizer import END_OF_TEXT
from benchmarks.synthetic.text import StudyText, end_of_text_id
from numpy.typing import NDArray
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedTokenizerFast

from dmix.warehouse_schema.files.layout import publish_json, read_json

ROW_TOKENS = 256
BATCH_ROWS = 8
LEARNING_RATE = 4e-3
WARMUP = 0.05
FACTS = "trained.json"


@dataclass(frozen=True, kw_only=True)
class Size:
    """Layers and width of a model; its weights beside the two tables are 12 * layers * width^2."""

    layers: int
    width: int

    @property
    def weights(self) -> int:
        return 12 * self.layers * self.width**2

    @property
    def name(self) -> str:
        return f"{self.weights / 1e6:.2f}M"


SIZES = (
    Size(layers=2, width=32),
    Size(layers=2, width=64),
    Size(layers=2, width=128),
    Size(layers=3, width=192),
)


def train_base_model(
    size: Size, text: StudyText, folder: Path, *, epochs: int, progress: Callable[[str], None]
) -> dict:
    """Facts of the model in `folder`, which is trained unless it is there already."""
    if (folder / FACTS).is_file():
        return dict(read_json(folder / FACTS))
    torch.manual_seed(0)
    eot = end_of_text_id(text.tokenizer_json)
    config = GPTNeoXConfig(
        vocab_size=1 + max(max(ids) for ids in text.tokens),
        hidden_size=size.width,
        intermediate_size=4 * size.width,
        num_hidden_layers=size.layers,
        num_attention_heads=max(2, size.width // 32),
        max_position_embeddings=ROW_TOKENS,
        rotary_pct=0.25,
        bos_token_id=eot,
        eos_token_id=eot,
        attention_dropout=0.0,
        hidden_dropout=0.0,
    )
    network = GPTNeoXForCausalLM(config)
    rng = np.random.default_rng(0)
    rows = np.concatenate([packed_rows(text.tokens, eot=eot, rng=rng) for _ in range(epochs)])
    steps = len(rows) // BATCH_ROWS
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.95), weight_decay=0.01
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, total_steps=steps, pct_start=WARMUP, cycle_momentum=False
    )
    started, losses = time.perf_counter(), []
    for step in range(steps):
        batch = torch.from_numpy(rows[step * BATCH_ROWS : (step + 1) * BATCH_ROWS]).long()
        loss = network(input_ids=batch, labels=batch).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
        if step % 50 == 49:
            seconds = time.perf_counter() - started
            progress(f"{size.name}: step {step + 1} of {steps}, loss {losses[-1]:.3f}, {seconds:,.0f} s")
    network.save_pretrained(folder)
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(_tokenizer_file(folder, text.tokenizer_json)))
    tokenizer.add_special_tokens({"bos_token": END_OF_TEXT, "eos_token": END_OF_TEXT})
    tokenizer.save_pretrained(folder)
    facts = {
        "size": size.name,
        "layers": size.layers,
        "width": size.width,
        "weights": size.weights,
        "all_weights": sum(parameter.numel() for parameter in network.parameters()),
        "tokens": int(steps * BATCH_ROWS * ROW_TOKENS),
        "loss": float(np.mean(losses[-20:])),
        "seconds": time.perf_counter() - started,
    }
    publish_json(folder / FACTS, facts)
    return facts


def packed_rows(
    documents: Sequence[Sequence[int]], *, eot: int, rng: np.random.Generator
) -> NDArray[np.int32]:
    """Rows of `ROW_TOKENS` ids: end-of-text, a document, end-of-text, the next; the last is cut.

    Every document begins in exactly one row; a last row that is not full is left out.
    """
    rows, row = [], [eot]
    for number in rng.permutation(len(documents)):
        row += [*documents[number], eot]
        if len(row) >= ROW_TOKENS:
            rows.append(row[:ROW_TOKENS])
            row = [eot]
    return np.array(rows, np.int32).reshape(-1, ROW_TOKENS)


def _tokenizer_file(folder: Path, tokenizer_json: bytes) -> Path:
    path = folder / "tokenizer.json"
    path.write_bytes(tokenizer_json)
    return path
