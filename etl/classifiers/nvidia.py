"""nvidia/domain-classifier: DeBERTa-v3-base, dropout, one linear layer, 26 domains (Apache-2.0).

The checkpoint is of the `PyTorchModelHubMixin` form: `config.json` with `base_model`,
`fc_dropout` and `id2label`, and `model.safetensors` with the encoder under `model.` and the
linear layer under `fc.`. The recipe on its card first downloads the base model and then
overwrites it; here the encoder is built from its configuration and gets the checkpoint's
weights alone. The linear layer is applied to position 0 only, which is the one that counts.

What is needed, from the hub (`--classifier nvidia`) or in a folder (`--classifier nvidia:DIR`,
filled by `hf download nvidia/domain-classifier --local-dir DIR`):

- `config.json`. The encoder's fields may stand in it; without them those of
  microsoft/deberta-v3-base are known here, and of any other `base_model` they are fetched.
- `model.safetensors`
- `tokenizer.json`; a `spm.model` alone also needs the package sentencepiece.

Shapes: B texts of a batch, L tokens of the longest of them, C labels.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dmix.etl.classifiers.gpu_lock import model_at_work
from dmix.etl.classifiers.interface import Labels, Records
from dmix.warehouse_schema.errors import InputError, MissingDependencyError, NotFoundError, first_line
from dmix.warehouse_schema.files.manifest_json import digest_of
from dmix.warehouse_schema.files.names import from_home
from dmix.warehouse_schema.files.weights import check_model_files, file_digest
from dmix.warehouse_schema.hub import asking_hub
from dmix.warehouse_schema.taxonomy import Taxonomy
from dmix.warehouse_schema.text_files import read_json_object

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer

logger = logging.getLogger(__name__)

HUB_ID = "nvidia/domain-classifier"
MAX_CHARACTERS = 2000
"""Texts are cut to this length, as in NeMo Curator."""

MAX_TOKENS = 512
BATCH_TOKENS = 64 * MAX_TOKENS
"""Padded tokens of one batch; part of the fingerprint, since padding changes the last bits."""

VERSION = 1
"""Part of the fingerprint; one more for every change of the labels that come out."""


@dataclass(frozen=True, kw_only=True)
class CheckpointForm:
    """A published checkpoint of this form: where it is, and how much of a text it reads.

    Attributes:
        hub_id: Its name on the hub.
        max_characters: Texts are cut to this length first.
        max_tokens: And then to this one.
    """

    hub_id: str
    max_characters: int
    max_tokens: int


DOMAIN_CHECKPOINT = CheckpointForm(hub_id=HUB_ID, max_characters=MAX_CHARACTERS, max_tokens=MAX_TOKENS)
QUALITY_CHECKPOINT = CheckpointForm(
    hub_id="nvidia/quality-classifier-deberta", max_characters=6000, max_tokens=1024
)
"""High, Medium or Low quality; limits as on its card and in NeMo Curator."""

_FILES = ("config.json", "model.safetensors")
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "spm.model", "special_tokens_map.json")

# config.json of microsoft/deberta-v3-base (MIT)
_DEBERTA_V3_BASE = {
    "attention_probs_dropout_prob": 0.1,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": 768,
    "initializer_range": 0.02,
    "intermediate_size": 3072,
    "layer_norm_eps": 1e-7,
    "max_position_embeddings": 512,
    "max_relative_positions": -1,
    "norm_rel_ebd": "layer_norm",
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
    "pad_token_id": 0,
    "pos_att_type": ["p2c", "c2p"],
    "position_biased_input": False,
    "position_buckets": 256,
    "relative_attention": True,
    "share_att_key": True,
    "type_vocab_size": 0,
    "vocab_size": 128100,
}
_BASE_CONFIGS = {"microsoft/deberta-v3-base": _DEBERTA_V3_BASE}


class NvidiaClassifier:
    """The classifier of a checkpoint folder or hub id; the model is loaded when first used.

    Batches are formed by length among the texts of one call, and do not depend on their order.
    On a GPU the encoder runs in bfloat16, elsewhere in float32. A GPU holds one copy of it, whatever the
    number of workers (`dmix.etl.classifiers.gpu_lock`).

    Args:
        location: A folder, or a hub id.
        name: What the user asked for.
        taxonomy: Must have exactly the labels of the checkpoint; its order is that of the indices.
        form: Which checkpoint it is.

    Raises:
        NotFoundError: If the files are not there or cannot be fetched.
        InputError: If `config.json` is not of this form or has other labels.
    """

    columns: tuple[str, ...] = ()

    def __init__(
        self, location: str, *, name: str, taxonomy: Taxonomy, form: CheckpointForm = DOMAIN_CHECKPOINT
    ) -> None:
        self.name = name
        self.taxonomy = taxonomy
        self._form = form
        self._folder = _fetched(location, hub_id=form.hub_id)
        self._config = _read_config(self._folder)
        self._order_C = _label_order(self._config, taxonomy)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of all files, labels and limits."""
        files = {
            path.name: file_digest(path)
            for path in (self._folder / name for name in (*_FILES, *_TOKENIZER_FILES))
            if path.is_file()
        }
        limits = [VERSION, self._form.max_characters, self._form.max_tokens, BATCH_TOKENS]
        return digest_of(["nvidia", limits, list(self.taxonomy.labels), files])

    def classify(self, texts: Sequence[str], records: Records) -> Labels:
        """The most probable label of each text; ties go to the lower index."""
        probability_NC = self.probabilities(texts)
        best_N = probability_NC.argmax(axis=1) if len(texts) else np.zeros(0, dtype=np.int64)
        top_N2 = np.sort(probability_NC, axis=1)[:, ::-1][:, :2]
        return Labels(
            best_N.astype(np.int32),
            top_N2[:, 0].astype(np.float32),
            (top_N2[:, 0] - top_N2[:, 1]).astype(np.float32),
        )

    def probabilities(self, texts: Sequence[str]) -> np.ndarray:
        """Probabilities of all labels in the order of the taxonomy, float32, shape (texts, C)."""
        import torch

        encodings = self._tokenizer.encode_batch([text[: self._form.max_characters] for text in texts])
        tokens = [encoding.ids for encoding in encodings]
        result_NC = np.zeros((len(tokens), len(self.taxonomy)), dtype=np.float32)
        if not tokens:
            return result_NC
        with model_at_work(self._model) as device, torch.inference_mode():
            for rows in length_batches(tokens, batch_tokens=BATCH_TOKENS):
                ids_BL, mask_BL = _padded([tokens[row] for row in rows], self._config.get("pad_token_id", 0))
                logits_BC = self._model(ids_BL.to(device), mask_BL.to(device))
                result_NC[rows] = logits_BC.float().softmax(dim=-1).cpu().numpy()[:, self._order_C]
        return result_NC

    @cached_property
    def _tokenizer(self) -> "Tokenizer":
        from tokenizers import Tokenizer

        path = self._folder / "tokenizer.json"
        tokenizer = Tokenizer.from_file(str(path)) if path.is_file() else _converted(self._folder)
        tokenizer.no_padding()
        tokenizer.enable_truncation(self._form.max_tokens)
        return tokenizer

    @cached_property
    def _model(self) -> "torch.nn.Module":
        import torch

        model = _load_model(self._folder, self._config)
        if torch.cuda.is_available():
            model = model.to(torch.bfloat16)
        else:
            logger.warning(
                "without a GPU, the nvidia classifier is slow: it reads a few KB per second on each core"
            )
        return model.eval()


def length_batches(tokens: Sequence[Sequence[int]], *, batch_tokens: int) -> Iterator[list[int]]:
    """Rows of batches of similar length, the shortest first, of at most `batch_tokens` with padding.

    The order of the texts plays no part: rows are sorted by length and then by their ids.
    """
    order = sorted(range(len(tokens)), key=lambda row: (len(tokens[row]), tokens[row]))
    batch: list[int] = []
    for row in order:
        if batch and (len(batch) + 1) * len(tokens[row]) > batch_tokens:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def _padded(tokens: Sequence[Sequence[int]], pad_id: int) -> tuple["torch.Tensor", "torch.Tensor"]:
    """(ids, mask), both (B, L), of rows sorted by length."""
    import torch

    ids_BL = torch.full((len(tokens), len(tokens[-1])), pad_id, dtype=torch.long)
    mask_BL = torch.zeros_like(ids_BL)
    for row, ids in enumerate(tokens):
        ids_BL[row, : len(ids)] = torch.tensor(ids, dtype=torch.long)
        mask_BL[row, : len(ids)] = 1
    return ids_BL, mask_BL


def _fetched(location: str, *, hub_id: str) -> Path:
    """The folder with the files of a checkpoint, downloaded to the hub's cache if need be."""
    folder = from_home(location)
    if not folder.is_dir():
        if location.count("/") != 1 or location.startswith((".", "~", "/")):
            raise NotFoundError(
                f"classifier folder {location} does not exist; run 'hf download {hub_id} --local-dir "
                f"{location}'"
            )
        folder = _downloaded(location)
    missing = [name for name in _FILES if not (folder / name).is_file()]
    if missing:
        raise NotFoundError(
            f"{folder} has no {missing[0]}; download all files of {hub_id} into it"
            f" ('hf download {hub_id} --local-dir {folder}')"
        )
    return folder


def _downloaded(hub_id: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        with asking_hub(hub_id) as where:
            return Path(snapshot_download(hub_id, allow_patterns=[*_FILES, *_TOKENIZER_FILES], **where))
    except Exception as error:  # the hub's client raises many kinds, without a common base
        reason = first_line(error).partition(". ")[0]
        raise NotFoundError(
            f"dmix cannot download {hub_id} from the Hugging Face hub ({reason}); run 'hf download "
            f"{hub_id} --local-dir DIR' on a machine with a network, then use nvidia:DIR"
        ) from error


def _read_config(folder: Path) -> dict[str, Any]:
    """`config.json` with all fields of the encoder."""
    path = folder / "config.json"
    try:
        config = read_json_object(path)
        base, labels = config["base_model"], config["id2label"]
        numbered = sorted(map(int, labels)) == list(range(len(labels)))
    except InputError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} is not the configuration of a classifier ({error!r}); expected base_model,"
            f" fc_dropout and id2label as in {HUB_ID}"
        ) from None
    if not numbered:
        raise InputError(
            f"{path}: the labels in id2label have the numbers {sorted(labels)}, expected 0, 1, 2, …"
        )
    if "hidden_size" in config:
        return dict(config)
    return {
        **_BASE_CONFIGS.get(base, {}),
        **({} if base in _BASE_CONFIGS else _fetched_config(base)),
        **config,
    }


def _fetched_config(base_model: str) -> dict[str, Any]:
    from transformers import AutoConfig

    try:
        with asking_hub(base_model) as where:
            return dict(AutoConfig.from_pretrained(base_model, trust_remote_code=False, **where).to_dict())
    except (OSError, ValueError) as error:
        raise NotFoundError(
            f"dmix cannot download the configuration of base model {base_model!r}"
            f" ({first_line(error)}); copy its fields into the classifier's"
            " config.json"
        ) from error


def _label_order(config: Mapping[str, Any], taxonomy: Taxonomy) -> np.ndarray:
    """For each label of the taxonomy, its output of the linear layer, int64, shape (C,)."""
    outputs = {label: int(index) for index, label in config["id2label"].items()}
    if set(outputs) != set(taxonomy.labels):
        differing = sorted(set(outputs) ^ set(taxonomy.labels))
        raise InputError(
            f"the checkpoint has {len(outputs)} labels, which differ from taxonomy {taxonomy.name!r} "
            f"({len(taxonomy)}), for example in {', '.join(differing[:5])}. Give a file with the "
            "checkpoint's labels with --taxonomy"
        )
    return np.asarray([outputs[label] for label in taxonomy.labels], dtype=np.int64)


def _load_model(folder: Path, config: Mapping[str, Any]) -> "torch.nn.Module":
    """Encoder and linear layer with the checkpoint's weights, float32 on the CPU."""
    from safetensors.torch import load_file
    from torch import Tensor, nn
    from transformers import DebertaV2Config, DebertaV2Model

    class DomainModel(nn.Module):
        """Maps ids and mask, (B, L), to logits, (B, C); dropout does nothing when not training."""

        def __init__(self) -> None:
            super().__init__()
            known = set(DebertaV2Config().to_dict()) | set(_DEBERTA_V3_BASE)
            known -= {"id2label", "label2id", "torch_dtype", "dtype", "architectures", "model_type"}
            encoder = DebertaV2Config(**{name: value for name, value in config.items() if name in known})
            self.model = DebertaV2Model(encoder)
            self.fc = nn.Linear(encoder.hidden_size, len(config["id2label"]))

        def forward(self, ids_BL: Tensor, mask_BL: Tensor) -> Tensor:
            states_BLH = self.model(input_ids=ids_BL, attention_mask=mask_BL).last_hidden_state
            logits_BC: Tensor = self.fc(states_BLH[:, 0])
            return logits_BC

    model = DomainModel()
    try:
        missing, unexpected = model.load_state_dict(load_file(folder / "model.safetensors"), strict=False)
    except Exception as error:  # shapes, or a type of safetensors
        raise InputError(
            f"{folder / 'model.safetensors'} does not fit its config.json "
            f"({' '.join(str(error).split())[:300]}); download both files again"
        ) from None
    unexpected = [name for name in unexpected if not name.endswith("position_ids")]
    if missing or unexpected:
        raise InputError(
            f"{folder / 'model.safetensors'} does not belong to a domain classifier: missing "
            f"{missing[:3]}, unexpected {unexpected[:3]}; download it again from {HUB_ID}"
        )
    return model


def _converted(folder: Path) -> "Tokenizer":
    """The fast form of a SentencePiece tokenizer."""
    from transformers import AutoTokenizer

    if not (folder / "spm.model").is_file():
        raise NotFoundError(
            f"{folder} has no tokenizer; download tokenizer.json of {HUB_ID} into it"
            f" ('hf download {HUB_ID} --local-dir {folder}')"
        )
    check_model_files(folder)
    try:
        return AutoTokenizer.from_pretrained(
            str(folder), use_fast=True, trust_remote_code=False
        ).backend_tokenizer
    except Exception as error:  # a missing package shows as one of several errors, depending on which
        raise MissingDependencyError(
            f"{folder} has no tokenizer.json, and dmix cannot read its spm.model ({first_line(error)});"
            " run 'pip install sentencepiece', or put a tokenizer.json beside it"
        ) from error
