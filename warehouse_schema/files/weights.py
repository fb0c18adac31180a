"""Files of weights without torch: how many numbers they hold, and which file is damaged.

A model that dmix saved lists the SHA-256 of its files, so that one that a disk damaged is noticed before
a run starts from it.
"""

import functools
import hashlib
import math
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from dmix.warehouse_schema.errors import DmixError, InputError, VerificationError, first_line
from dmix.warehouse_schema.files.names import plain_name
from dmix.warehouse_schema.settings import setting, settings_from
from dmix.warehouse_schema.text_files import parse_json, read_json_object, refuse_pipe

# Which dataset a model of ours was trained on and what its files are, beside its weights.
ORIGIN_FILE = "dmix.json"
# Learning rate of models of earlier versions, which do not say theirs.
_EARLIER_RATE = 1e-3
# An entry of old tokenizer_config.json files that transformers does not read.
_UNREAD = ("special_tokens_map_file",)
# Numbers that are looked at, at a time.
_CHUNK = 2**22
# Layers of a model, and experts of a layer, that a configuration may ask for. Each is Python objects, even
# without weights: ten million of them fill any memory. The deepest model known has 1,000.
_MOST_LAYERS, _MOST_EXPERTS = 4_096, 16_384
# T5 has 100. Each becomes a token when the tokenizer is loaded.
_MOST_EXTRA_IDS = 100_000
_LAYERS = re.compile(r"(^|_)n?_?layers?$")
_EXPERTS = re.compile(r"(^|_)(num|n)_(\w+_)?experts$")
MOST_WEIGHT = 1e6
"""Largest magnitude of a weight or bias. No model comes near: fp16 ends at 65,504, and outliers of language
models are some hundreds. Scores do not tell: with 1e38 in one weight, norms may leave them as they were."""
# MOST_WEIGHT in bf16 (999,424). Without the sign, bits are in the order of magnitudes; infinities and NaN
# are above all numbers.
_BF16_MOST, _BF16_MAGNITUDE = 0x4974, 0x7FFF


def stored_weights(folder: Path) -> dict[str, int]:
    """Number of values of each weight in the safetensors files of a folder, by its name.

    Raises:
        InputError: If the header of a file is damaged.
    """
    return {
        name: math.prod(entry["shape"])
        for path in sorted(folder.glob("*.safetensors"))
        for name, entry in _header(path)[0].items()
    }


def first_unusable(folder: Path) -> str:
    """Name of the first weight in safetensors files that holds an infinity, NaN or more than `MOST_WEIGHT`;
    empty if none does.

    Weights in eight bits are not looked at.

    Raises:
        InputError: If the header of a file is damaged.
    """
    import numpy as np

    types = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
    for path in sorted(folder.glob("*.safetensors")):
        header, start = _header(path)
        for name, entry in header.items():
            if entry["dtype"] not in types:
                continue
            begin, end = entry["data_offsets"]
            kind = np.dtype(types[entry["dtype"]])
            if (end - begin) % kind.itemsize:
                raise InputError(f"{path} is not a safetensors file ({name} is cut off); download it again")
            values = np.memmap(path, np.uint8, "r")[start + begin : start + end].view(kind)
            for first in range(0, len(values), _CHUNK):
                part = values[first : first + _CHUNK]
                if entry["dtype"] == "BF16":
                    fine = (part & _BF16_MAGNITUDE) <= _BF16_MOST
                else:
                    fine = np.abs(part) <= np.float64(MOST_WEIGHT)  # a plain number is infinite in F16
                if not fine.all():
                    return name
    return ""


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """What a safetensors file says of its weights, and where their values begin.

    Raises:
        InputError: If it is damaged.
    """
    refuse_pipe(path)
    with path.open("rb") as file:
        start = file.read(8)
        size = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        try:
            if not 0 < size <= path.stat().st_size - 8:
                raise ValueError("the file ends within its header")
            header = parse_json(file.read(size))
            header.pop("__metadata__", None)
            for entry in header.values():
                begin, end = entry["data_offsets"]
                numbers = (begin, end, *entry["shape"])
                fine = isinstance(entry["dtype"], str) and all(type(n) is int and n >= 0 for n in numbers)
                if not fine or not begin <= end <= path.stat().st_size - 8 - size:
                    raise ValueError(f"an entry of its header is {str(entry)[:200]}")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{path} is not a safetensors file ({error}); download the file again") from None
    return header, 8 + size


def check_model_files(folder: Path) -> None:
    """Returns if the configuration files of a model folder name neither code nor files elsewhere.

    transformers (4.57) reads weights and vocabularies wherever these files say, and loads an implementation
    of attention that is named `owner/name` from the hub as native code. Does nothing without a folder.

    Raises:
        InputError: If one does, is damaged or a pipe, or asks for more layers than any model has.
    """
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise InputError(f"{path} is a pipe, a socket or a device, expected a file; remove it")
    for path in sorted(folder.glob("*.index.json")):
        named = read_json_object(path).get("weight_map", {})
        for name in named.values() if isinstance(named, dict) else ():
            plain_name(name, what="file of weights", where=path)
    path = folder / "tokenizer_config.json"
    for name, value in read_json_object(path).items() if path.is_file() else ():
        if name.endswith("_file") and name not in _UNREAD and value is not None:
            plain_name(value, what=name, where=path)
        if name == "extra_ids" and (not isinstance(value, int) or value > _MOST_EXTRA_IDS):
            raise InputError(f"{path} has extra_ids {str(value)[:40]}, expected at most {_MOST_EXTRA_IDS:,}")
        if name.endswith("_files") and value is not None:
            for one in value if isinstance(value, list) else [value]:
                plain_name(one, what=name, where=path)
    path = folder / "config.json"
    if path.is_file():
        config = read_json_object(path)
        check_attention(config, where=path)
        check_depth(config, where=path)
        if config.get("transformers_weights") is not None:
            plain_name(config["transformers_weights"], what="transformers_weights", where=path)


def check_attention(value: Any, *, where: object) -> None:
    """Returns if a configuration of a model, or what it holds, names no attention that is code of the hub.

    Raises:
        InputError: If it does.
    """
    for name, kernels in _entries(value):
        if not name.strip("_").startswith("attn_implementation"):
            continue
        for kernel in kernels.values() if isinstance(kernels, dict) else (kernels,):
            if kernel is not None and (not isinstance(kernel, str) or "/" in kernel):
                raise InputError(
                    f"{where} names the {name} {str(kernel)[:200]!r}, which would be loaded as code;"
                    " remove this entry"
                )


def check_depth(value: Any, *, where: object) -> None:
    """Returns if a configuration of a model, or what it holds, asks for no absurd number of layers.

    Raises:
        InputError: If it does; building such a model would fill the memory before a weight is read.
    """
    for name, number in _entries(value):
        if type(number) not in (int, float):
            continue
        most = _MOST_LAYERS if _LAYERS.search(name) else _MOST_EXPERTS if _EXPERTS.search(name) else None
        if most is not None and number > most:
            raise InputError(
                f"{where} has {name} {str(number)[:40]}, expected at most {most:,}; correct the file"
            )


def _entries(value: Any) -> Iterator[tuple[str, Any]]:
    """Names and values of a configuration, and of what it holds."""
    waiting = [value]
    while waiting:
        found = waiting.pop()
        waiting += found.values() if isinstance(found, dict) else found if isinstance(found, list) else ()
        yield from ((str(name), entry) for name, entry in found.items()) if isinstance(found, dict) else ()


def file_digest(path: Path) -> str:
    """SHA-256 of a file.

    Raises:
        InputError: If it is a pipe or a device.
    """
    refuse_pipe(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def known_digest(path: Path) -> str:
    """SHA-256 of a file that stays: many proxies of a farm start from one model."""
    return _digest_then(path, path.stat().st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _digest_then(path: Path, modified_ns: int) -> str:
    return file_digest(path)


@dataclass(frozen=True, kw_only=True)
class ModelOrigin:
    """What `dmix.json` says of a model of ours; models of earlier versions say less."""

    dataset: str = setting("", help="Dataset that it was trained on.")
    tokenizer_sha256: str = setting("", help="Digest of that dataset's tokenizer.")
    learning_rate: float | None = setting(_EARLIER_RATE, help="Rate that it was trained at.")
    files: dict[str, str] = setting({}, help="SHA-256 of its files, by name.")


def model_origin(folder: Path) -> ModelOrigin | None:
    """What is known of a model of ours; None for other checkpoints.

    Raises:
        InputError: If the file is damaged.
    """
    path = folder / ORIGIN_FILE
    if not path.is_file():
        return None
    names = {field.name for field in fields(ModelOrigin)}
    found = {name: value for name, value in read_json_object(path).items() if name in names}
    origin = settings_from(ModelOrigin, found, where=str(path))
    for name in origin.files:
        plain_name(name, what="file", where=path)
    if origin.learning_rate is not None and origin.learning_rate < 0:
        raise InputError(f"{path}: learning_rate is {origin.learning_rate}, expected a number above 0")
    return origin


def check_saved_model(folder: Path) -> None:
    """Compares the weights of a model of ours with their checksums; others have none.

    Raises:
        VerificationError: If a file is missing or damaged; it is named.
    """
    origin = model_origin(folder)
    for name, wanted in origin.files.items() if origin is not None else ():
        path = folder / name
        if not path.is_file() or known_digest(path) != wanted:
            raise VerificationError(
                f"{path} is {'damaged' if path.is_file() else 'missing'}; train the model again, or restore"
                " the file"
            )


def damaged_weights(folder: Path) -> str:
    """The first safetensors file of a folder that cannot be read, and why; empty if all can.

    Header and length are looked at, not the numbers: only checksums could tell whether those are right.
    """
    from safetensors import safe_open

    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="numpy") as file:
                file.keys()
        except Exception as error:  # safetensors raises a type of its own, or OSError
            return f"{path} is damaged ({first_line(error)})"
    return ""


@contextmanager
def readable(path: Path, *, what: str, fix: str) -> Iterator[None]:
    """Names the file in what torch or safetensors raise for one that is damaged.

    Args:
        path: The file that is read.
        what: What it holds.
        fix: What to do about it.

    Raises:
        InputError: If it cannot be read.
    """
    try:
        yield
    except DmixError:
        raise
    except Exception as error:  # pickle, zip, safetensors and torch raise many kinds
        if isinstance(error, MemoryError) or "out of memory" in str(error) or "allocate memory" in str(error):
            raise
        raise InputError(f"{path} cannot be read as {what} ({first_line(error)}); {fix}") from error
