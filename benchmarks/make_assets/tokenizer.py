"""Trains the embedded tokenizer: `python -m benchmarks.make_assets.tokenizer --data DIR`.

Byte-level BPE, vocabulary 8192. Pre-tokens are cut by the expression that Qwen 2 made common
(every digit a token of its own, which small models need for arithmetic), and no text is
normalised, so that decoding returns the input. The result depends on the data alone: training
twice gives the same bytes.
"""

import argparse
import json
import logging
from pathlib import Path

from benchmarks.make_assets.reference_corpora import COPYLEFT, RESEARCH_ONLY, read_reference

from dmix.etl.text.tokens import EMBEDDED_PATH

logger = logging.getLogger(__name__)

VOCAB_SIZE = 8192
END_OF_TEXT = "<|endoftext|>"
PRE_TOKEN_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def train_tokenizer(texts: list[str], *, vocab_size: int = VOCAB_SIZE) -> bytes:
    """The `tokenizer.json` of a byte-level BPE with end-of-text as id 0, in compact form."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PRE_TOKEN_PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer, length=len(texts))
    document = json.loads(tokenizer.to_str())
    return (json.dumps(document, ensure_ascii=False, separators=(",", ":")) + "\n").encode("utf-8")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the reference data")
    parser.add_argument("--out", type=Path, default=EMBEDDED_PATH, help="file to write")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    texts = [d.text for d in read_reference(arguments.data, exclude=RESEARCH_ONLY | COPYLEFT)]
    arguments.out.write_bytes(train_tokenizer(texts))
    logger.info("%d documents, tokenizer written to %s", len(texts), arguments.out)


if __name__ == "__main__":
    main()
