"""Plans without torch: the dry runs of commands that let a model write.

torch and the models of transformers take six seconds to import. A plan reads configuration and tokenizer,
for which transformers needs no torch, and finds the size of the model in the headers of its weights. Once
transformers was imported without torch, it has no models. So only a command of dmix, whose process ends with
its plan, leaves torch out.
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.names import from_home
from dmix.warehouse_schema.files.weights import stored_weights

_OUTPUTS = ("lm_head.weight", "embed_out.weight")
_INPUTS = ("embed_tokens.weight", "embed_in.weight", "wte.weight", "word_embeddings.weight")

_own_process = False
_left_out = False


@dataclass(frozen=True, kw_only=True)
class StoredSize:
    """How many numbers a checkpoint holds.

    Attributes:
        parameters: All of them; an output layer that is tied to the embeddings does not count.
        looked_up: The table of input embeddings, of which a pass reads only rows; 0 if it is tied.
    """

    parameters: int
    looked_up: int


def allow() -> None:
    """For the beginning of a program that is a command of dmix."""
    global _own_process
    _own_process = True


def leave_torch_out(model: str) -> None:
    """Lets transformers do without torch from here on, if this process is a command and the plan can.

    Args:
        model: Folder of a checkpoint, or a hub id.
    """
    global _left_out
    imported = {"torch", "transformers"} & sys.modules.keys()
    if _own_process and not imported and _is_sized(from_home(model)):
        os.environ.update(USE_TORCH="0", TRANSFORMERS_NO_ADVISORY_WARNINGS="1")
        _left_out = True


def is_torch_left_out() -> bool:
    """Whether transformers has no models in this process."""
    return _left_out


def stored_size(folder: Path, *, tied: bool) -> StoredSize:
    """The size of the model in a folder, by the headers of its safetensors files.

    Args:
        folder: A checkpoint.
        tied: Whether its output layer is its table of embeddings.

    Raises:
        InputError: If a header is damaged.
    """
    weights = stored_weights(folder)
    if tied:
        weights = {name: size for name, size in weights.items() if not name.endswith(_OUTPUTS)}
    tables = [size for name, size in weights.items() if name.endswith(_INPUTS)]
    return StoredSize(parameters=sum(weights.values()), looked_up=0 if tied else sum(tables[:1]))


def _is_sized(folder: Path) -> bool:
    """Whether the headers of a checkpoint plainly say its size."""
    try:
        return any(name.endswith(_INPUTS) for name in stored_weights(folder))
    except InputError:
        return False
