"""Blocks written by vLLM, which fills a GPU better than a loop over single blocks can.

The start token is the prompt, and each document has its own seed, made of (seed, index), so that
its random numbers are its own. vLLM forms its batches as it sees fit, and the last bits of its
sums with them: unlike the engine `transformers`, it promises no equal text on another machine or
version. Its text differs from that of the other engine, and the engine is part of a generation's
digest.
"""

import importlib
import time
from collections.abc import Sequence
from pathlib import Path

from dmix.etl.synthetic.generation import BlockWriter, GeneratedBlock, GeneratedDocument, document_uniforms
from dmix.etl.synthetic.generation_settings import GenerationSettings
from dmix.etl.synthetic.source_models import SourceModel, precision_of
from dmix.warehouse_schema.errors import MissingDependencyError


def vllm_writer(folder: Path, settings: GenerationSettings) -> BlockWriter:
    """What writes blocks with the checkpoint in `folder`.

    Raises:
        MissingDependencyError: If vLLM cannot be imported.
    """
    try:
        vllm = importlib.import_module("vllm")
    except ImportError as error:
        raise MissingDependencyError(
            f"dmix cannot import vllm ({error}); install vllm again, or use --engine transformers"
        ) from None
    precision = str(precision_of(settings)).removeprefix("torch.")
    engine = vllm.LLM(model=str(folder), dtype=precision, seed=settings.seed % 2**31)

    def write(model: SourceModel, indices: Sequence[int], *, seed: int) -> GeneratedBlock:
        sampling = [
            vllm.SamplingParams(
                temperature=1.0,
                top_p=1.0,
                max_tokens=model.max_tokens,
                seed=document_seed(seed, index),
                stop_token_ids=[model.end_id],
                detokenize=False,
            )
            for index in indices
        ]
        prompts = [{"prompt_token_ids": [model.start_id]} for _ in indices]
        started = time.perf_counter()
        answers = engine.generate(prompts, sampling, use_tqdm=False)
        seconds = time.perf_counter() - started
        documents = [
            _document(model, index, list(answer.outputs[0].token_ids))
            for index, answer in zip(indices, answers, strict=True)
        ]
        return GeneratedBlock(
            documents=tuple(documents),
            # the longest document takes as many passes, if the whole block fits into one batch
            passes=max(document.tokens + document.ended for document in documents),
            rows=sum(document.tokens + document.ended for document in documents),
            seconds=seconds,
        )

    return write


def document_seed(seed: int, index: int) -> int:
    """A seed below 2^31 of one document."""
    return int(document_uniforms(seed, index, 1)[0] * 2**31)


def _document(model: SourceModel, index: int, ids: list[int]) -> GeneratedDocument:
    ended = bool(ids) and ids[-1] == model.end_id
    ids = ids[:-1] if ended else ids
    text = model.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return GeneratedDocument(index=index, text=text, tokens=len(ids), ended=ended)
