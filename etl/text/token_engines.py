"""Engines that run a `tokenizer.json`, and the probe that an engine has to pass before it is used.

Each engine is a function from texts to (flat ids, lengths), all on the calling thread. The engines
get the JSON of `encoder_json`, in which no special token is left to be found in raw text.
"""

import contextlib
import functools
import json
import logging
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import sha256
from typing import Any

import numpy as np

from dmix.warehouse_schema.errors import InputError, first_line
from dmix.warehouse_schema.sizes import num_text

logger = logging.getLogger(__name__)

RUST_PANIC = "PanicException"
"""What a panic in a Rust engine arrives as: a `BaseException` whose module cannot be imported."""

EncodeBatch = Callable[[Sequence[str]], tuple[np.ndarray, np.ndarray]]

KNOWN_IDS = {
    "7d34fce4ecbe54f0da48a0d9443d6b91c70e86e670e93e1e71281fef21f4107f": (
        "4d80a3863a18275de874ca71df325a32064b9f1e9772d264b4e69223e56f5a38"
    )
}
"""What `tokenizers` makes of the probe, by the SHA-256 of a tokenizer that ships with dmix: digest of ids.

So an engine can be held to the reference without importing it, which takes longer than small inputs.
"""


def special_tokens(document: dict[str, Any]) -> set[str]:
    """Contents of the special tokens of a parsed `tokenizer.json`."""
    return {token["content"] for token in document.get("added_tokens") or () if token.get("special")}


def unknown_token(document: dict[str, Any]) -> str | None:
    """The token that unencodable text becomes, special or not; None for byte-level models."""
    model = document.get("model") or {}
    if isinstance(model.get("vocab"), list):
        index = model.get("unk_id")
        return None if index is None else model["vocab"][index][0]
    return model.get("unk_token")


def encoder_json(document: dict[str, Any], specials: set[str]) -> str:
    """The `tokenizer.json` that encodes raw text: no special tokens, nothing added, cut or left to chance.

    Args:
        document: A parsed `tokenizer.json`; left unchanged.
        specials: Tokens that text must never become. Added tokens that are not special stay,
            because they are ordinary vocabulary (runs of spaces, for example).
    """
    encoder = {
        **document,
        "added_tokens": [t for t in document.get("added_tokens") or () if t["content"] not in specials],
        "post_processor": None,
        "truncation": None,
        "padding": None,
    }
    model = document.get("model") or {}
    if model.get("dropout"):  # merges that are left out by chance, which only training wants
        encoder["model"] = {**model, "dropout": None}
    if isinstance(model.get("vocab"), list):  # Unigram would match the literal as one piece
        pieces = [[_unreachable(i) if p in specials else p, s] for i, (p, s) in enumerate(model["vocab"])]
        encoder["model"] = {**model, "vocab": pieces}
    return json.dumps(encoder, ensure_ascii=False)


_NEWER_MARKS = (
    "\u07fd\u08d3\u09fe\U00010f46\u0eba\U000119e0\U0001e130\u1abf\u1ac0\U00010eab\u0c3c\u0898\u1ace\U00010f82"
    "\U00010efd\U0001e08f\U0001e4ec\u0897\U00010d69\U000113ce\u1acf\u1ae0\U00010efa"
)


def probe_texts(specials: Iterable[str] = ()) -> list[str]:
    """Texts on which an engine must agree with `tokenizers` before it is used."""
    literals = list(specials)[:50]
    return [
        "",
        " ",
        "The quick brown fox doesn't jump over 1234567890 lazy dogs; they're I'LL'VE 3.14159e-10!",
        "tabs\tand  two   three    four spaces \n\n\n newlines\r\n\r\n trailing   ",
        "def f(x: int) -> dict[str, list]:\n\treturn {'a': [x ** 2 for _ in range(10)]}  # ok\n",
        '<p class="x">&amp; http://a.example/?q=1&r=2</p> {"k": [1, 2.5, null]} #include <a.h>\n\n\n}',
        "Größe naïve Čeština Ελληνικά русский עברית العربية हिन्दी ไทย ½ ² ① Ⅷ ٣ e\u0301 \u00a0\u200b\u2028x",
        "中文分词和日本語のテキスト、한국어 문장。123年４５６",
        "😀👩‍👩‍👧‍👦🏳️‍🌈 emoji👍🏽 \U0001f9ff \ufffd \x00\x07\x1b control \ufeff",
        "Donaudampfschifffahrt" * 300,
        # combining classes that Unicode 11 to 17 added: normalisation sorts marks by them
        " ".join(f"a\u0315{mark}\u0301\u0323" for mark in _NEWER_MARKS),
        "=" * 257 + " " * 129 + "\n" * 65 + "ab" * 33 + "-" * 5 + "9" * 100,
        *literals,
        " ".join(literals),
        "".join(f"a{literal}b" for literal in literals),
    ]


def choose_engine(
    name: str,
    encoder: str,
    *,
    specials: dict[int, str],
    written: Sequence[str] = (),
    known: str | None = None,
) -> tuple[str, EncodeBatch]:
    """The first engine that loads and agrees with the reference on the probe.

    Args:
        name: What messages call the tokenizer.
        encoder: What `encoder_json` returned.
        specials: Ids that raw text must never become, with their literals.
        written: Special tokens that text becomes.
        known: Digest of the reference's ids of the probe (`ids_digest`); None asks the reference.

    Returns:
        The name of the engine and its encoding function.

    Raises:
        InputError: If a literal becomes its special token in the reference itself.
    """
    probe = probe_texts((*written, *specials.values()))
    reference = _when_needed(functools.partial(tokenizers_engine, encoder))
    if known is None:
        expected = reference(probe)
        leaked = sorted(set(expected[0].tolist()) & set(specials))
        if leaked:
            raise InputError(
                f"tokenizer {name!r} encodes the plain text {specials[leaked[0]]!r} as a special token, even "
                "with special tokens off; choose another tokenizer"
            )
        known = ids_digest(*expected)
    reasons = []
    for engine, build in (("gigatoken", gigatoken_engine), ("fastokens", fastokens_engine)):
        try:
            encode = build(encoder)
            got = encode(probe)
        except BaseException as error:
            if not _is_failure(error):
                raise
            reasons.append(f"{engine} cannot run this tokenizer: {first_line(error)}")
            continue
        if ids_digest(*got) == known:
            if reasons:  # nothing to do for a reader: the ids are those of the reference
                logger.info("tokenizer %r runs on %s (%s)", name, engine, "; ".join(reasons))
            return engine, with_fallback(encode, reference, name=name, engine=engine)
        logger.warning("%s and tokenizers differ on tokenizer %r; dmix does not use %s", engine, name, engine)
        reasons.append(f"{engine} gives other ids")
    logger.warning(
        "tokenizer %r runs on the package tokenizers, some 50 times slower than the fast engines (%s)",
        name,
        "; ".join(reasons),
    )
    return "tokenizers", reference


def ids_digest(ids: np.ndarray, lengths: np.ndarray) -> str:
    """SHA-256 of what an engine returned."""
    return sha256(lengths.astype("<i8").tobytes() + ids.astype("<u4").tobytes()).hexdigest()


def _when_needed(build: Callable[[], EncodeBatch]) -> EncodeBatch:
    """The engine that `build` makes, made when it is first called."""
    made = functools.cache(build)

    def encode(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        return made()(texts)

    return encode


def with_fallback(encode: EncodeBatch, reference: EncodeBatch, *, name: str, engine: str) -> EncodeBatch:
    """`encode`, which gives texts that it fails on to the reference.

    A probe cannot hold every text that an engine cannot take (fastokens fails on a run of a million
    blanks): such a text gets the ids of the reference, and the other texts those of the engine.

    Args:
        encode: The engine.
        reference: What gives the right ids of every text.
        name: What messages call the tokenizer.
        engine: What messages call the engine.
    """
    told = False

    def one(text: str) -> tuple[np.ndarray, np.ndarray]:
        nonlocal told
        try:
            return encode([text])
        except BaseException as error:
            if not _is_failure(error):
                raise
            if not told:
                told = True
                logger.warning(
                    "%s cannot encode a text of %s (%s); tokenizers encodes it (tokenizer %r)",
                    engine,
                    num_text(len(text), "character"),
                    str(error).strip()[:200],
                    name,
                )
            return reference([text])

    def run(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        try:
            return encode(texts)
        except BaseException as error:
            if not _is_failure(error):
                raise
        parts = [one(text) for text in texts]
        ids = _joined([ids for ids, _ in parts])[0]
        return ids, np.array([int(lengths[0]) for _, lengths in parts], dtype=np.int64)

    return run


def _is_failure(error: BaseException) -> bool:
    """True for what an engine raises of its own, which another one may not."""
    if type(error).__name__ == RUST_PANIC:
        return True
    return isinstance(error, Exception) and not isinstance(
        error, MemoryError | TypeError | UnicodeEncodeError
    )


def gigatoken_engine(encoder: str) -> EncodeBatch:
    """Encoding by gigatoken, sequentially: its thread pool would take all cores."""
    import gigatoken

    tokenizer = gigatoken.Tokenizer.from_json(encoder)

    def encode(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        try:
            with _without_awkward():
                found = tokenizer.encode_batch(list(texts), parallel=False)
        except AttributeError:  # another version asks awkward for more than the stand-in has
            found = tokenizer.encode_batch(list(texts), parallel=False)
        if isinstance(found, tuple):
            return found
        layout = found.layout
        offsets = np.asarray(layout.offsets, dtype=np.int64)
        ids = np.asarray(layout.content.data, dtype=np.uint32)
        return ids[offsets[0] : offsets[-1]], np.diff(offsets)

    return encode


class _Unwrapped(types.ModuleType):
    """What gigatoken (0.10) uses of awkward: here, ids and lengths stay the two arrays that they are."""

    Array = type("Array", (), {})

    @staticmethod
    def unflatten(ids: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return ids, lengths


@contextlib.contextmanager
def _without_awkward() -> Iterator[None]:
    """Stands in for awkward, which takes longer to import than many inputs to encode.

    Nothing changes where awkward has been imported.
    """
    if "awkward" in sys.modules:
        yield
        return
    sys.modules["awkward"] = _Unwrapped("awkward")
    try:
        yield
    finally:
        del sys.modules["awkward"]


def fastokens_engine(encoder: str) -> EncodeBatch:
    """Encoding by fastokens."""
    import fastokens

    tokenizer = fastokens.Tokenizer.from_json_str(encoder)

    def encode(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        # One text a call stays on this thread, at the speed of a batch; a batch would use all cores.
        parts = [np.frombuffer(tokenizer.encode_batch_flat([text])[0], np.dtype("<u4")) for text in texts]
        return _joined(parts)

    return encode


def tokenizers_engine(encoder: str) -> EncodeBatch:
    """Encoding by tokenizers, the reference."""
    from tokenizers import Tokenizer as Reference

    tokenizer = Reference.from_str(encoder)

    def one(text: str) -> np.ndarray:
        try:
            return np.array(tokenizer.encode(text, add_special_tokens=False).ids, np.uint32)
        except Exception as error:
            if type(error) is not Exception:
                raise
            # the Rust side raises bare Exception, as where an unknown token is not in the vocabulary
            raise InputError(
                f"the tokenizer cannot encode a text of {num_text(len(text), 'character')} ({error}); "
                "correct its tokenizer.json, or give another tokenizer"
            ) from None

    def encode(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        return _joined([one(text) for text in texts])

    return encode


def _joined(parts: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    lengths = np.array([len(part) for part in parts], dtype=np.int64)
    return np.concatenate([np.empty(0, np.uint32), *parts]).astype(np.uint32, copy=False), lengths


def _unreachable(index: int) -> str:
    """A piece that no text holds: two noncharacters, which are not for interchange."""
    return f"\ufdd0{index}\ufdd1"
