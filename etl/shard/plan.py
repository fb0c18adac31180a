"""From corpora and settings to a dataset's id and shard inputs, before any text is read."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dmix.etl.publishing.shard_inputs import ShardInput, plan_shard_inputs, read_texts
from dmix.etl.screening.screening import in_reading_order
from dmix.etl.shard.mds import WRITER_FORMAT, ShardFormat
from dmix.etl.shard.packing import token_dtype
from dmix.etl.shard.settings import ShardSettings
from dmix.etl.shard.tasks import ShardJob
from dmix.etl.text.tokens import Tokenizer, load_tokenizer
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse, checked_name
from dmix.warehouse_schema.files.manifest_json import digest_of
from dmix.warehouse_schema.files.manifests import (
    CorpusReference,
    CorpusVersion,
    DatasetManifest,
    TokenizerFile,
    content_digest,
    corpora,
    datasets,
    item_digest,
    read_corpus_version,
    read_dataset_manifest,
)
from dmix.warehouse_schema.files.storage import Place
from dmix.warehouse_schema.sizes import num_text
from dmix.warehouse_schema.taxonomy import FIELDS, Taxonomy

if TYPE_CHECKING:
    from dmix.etl.screening.ngrams import EvaluationItem

_ESTIMATE_BYTES = 64 << 10
"""Text of each domain that a dry run encodes."""


@dataclass(frozen=True, kw_only=True)
class ShardPlan:
    """A dataset that is to be made.

    Attributes:
        dataset: Id: equal ids mean equal bytes.
        corpora: In the order in which their documents follow each other: source first, then by
            content, so that the order on the command line does not matter.
        shard_inputs: Of every (field, domain) with documents, also of those that will be left out.
        drop_duplicates: Leave out copies of a text.
        items: Evaluation items that are looked for.
        remove_contaminated: Leave out documents that hold one of them.
        settings: What else the id depends on, for the manifest.
    """

    dataset: str
    name: str
    seed: int
    taxonomy: Taxonomy
    tokenizer: Tokenizer
    format: ShardFormat
    corpora: tuple[CorpusVersion, ...]
    shard_inputs: Mapping[tuple[str, str], tuple[ShardInput, ...]]
    drop_duplicates: bool
    items: "tuple[EvaluationItem, ...]"
    remove_contaminated: bool
    settings: Mapping[str, Any]

    @property
    def all_shard_inputs(self) -> tuple[ShardInput, ...]:
        return tuple(
            shard_input for shard_inputs in self.shard_inputs.values() for shard_input in shard_inputs
        )

    @property
    def text_bytes(self) -> int:
        return sum(shard_input.text_bytes for shard_input in self.all_shard_inputs)

    @property
    def tokenizer_file(self) -> TokenizerFile:
        return TokenizerFile(
            name=self.tokenizer.name,
            sha256=self.tokenizer.sha256,
            vocab_size=self.tokenizer.vocab_size,
            eot_id=self.tokenizer.eot_id,
            eot_token=self.tokenizer.eot_token,
        )

    @property
    def kept_out(self) -> tuple[str, ...]:
        """Digests of the items whose documents are left out, sorted."""
        if not self.remove_contaminated:
            return ()
        return tuple(sorted({item_digest(item.question, item.answer) for item in self.items}))

    def job(self, folder: Place) -> ShardJob:
        """What tasks need to make this dataset in `folder`."""
        return ShardJob(
            folder=folder, tokenizer=self.tokenizer_file, format=self.format, written=self.tokenizer.written
        )


def plan_dataset(
    warehouse: Warehouse,
    *,
    corpora: Sequence[CorpusVersion],
    settings: ShardSettings,
    items: "Sequence[EvaluationItem]" = (),
) -> ShardPlan:
    """What `settings` make of the corpora; loads the tokenizer, reads no label file.

    Args:
        corpora: Versions of one taxonomy, of one field or both.
        settings: How they become a dataset.
        items: Evaluation items that must not stand in the training text.

    Raises:
        InputError: If the corpora do not fit together or hold no documents, or a setting is off.
        NotFoundError: If the tokenizer does not exist.
    """
    _check_corpora(corpora)
    _check_name(settings.name)
    ordered = in_reading_order(corpora)
    tokenizer = load_tokenizer(settings.tokenizer).writing(settings.special_token)
    format = ShardFormat(
        seq_len=settings.seq_len,
        dtype=token_dtype(tokenizer.vocab_size),
        shard_bytes=settings.shard_bytes,
    )
    more: dict[str, Any] = {
        "writer_format": WRITER_FORMAT,
        "split_bytes": settings.split_bytes,
        "shard_bytes": settings.shard_bytes,
    }
    remove_contaminated = bool(items) and settings.contaminated == "remove"
    if settings.drop_duplicates:
        from dmix.etl.screening.duplicates import duplicates_rule

        more["duplicates"] = duplicates_rule(ordered)
    if tokenizer.written:
        more["special_tokens"] = list(tokenizer.written)
    if remove_contaminated:
        from dmix.etl.screening.ngrams import items_digest

        more["contamination"] = items_digest(items)
    plan_id = dataset_id(
        corpora=[content_digest(corpus) for corpus in ordered],
        taxonomy=ordered[0].taxonomy,
        tokenizer_sha256=tokenizer.sha256,
        eot_id=tokenizer.eot_id,
        seq_len=settings.seq_len,
        seed=settings.seed,
        settings=more,
    )
    return ShardPlan(
        dataset=plan_id,
        name=settings.name,
        seed=settings.seed,
        taxonomy=ordered[0].taxonomy,
        tokenizer=tokenizer,
        format=format,
        corpora=ordered,
        shard_inputs=plan_shard_inputs(warehouse, corpora=ordered, split_bytes=settings.split_bytes),
        drop_duplicates=settings.drop_duplicates,
        items=tuple(items),
        remove_contaminated=remove_contaminated,
        settings=more,
    )


def dataset_id(
    *,
    corpora: Sequence[str],
    taxonomy: Taxonomy,
    tokenizer_sha256: str,
    eot_id: int,
    seq_len: int,
    seed: int,
    settings: Mapping[str, Any],
) -> str:
    """First 16 digits of the hash of everything that the bytes of a dataset follow from.

    Args:
        corpora: Content digests in the plan's order.
    """
    return digest_of(
        {
            "corpora": list(corpora),
            "taxonomy": taxonomy.to_json(),
            "tokenizer": tokenizer_sha256,
            "eot_id": eot_id,
            "seq_len": seq_len,
            "seed": seed,
            "settings": dict(settings),
        }
    )[:16]


def manifest_id(manifest: DatasetManifest) -> str:
    """The id that a manifest's own entries give; another one means that it was altered."""
    return dataset_id(
        corpora=[reference.manifest_sha256 for reference in manifest.corpora],
        taxonomy=manifest.taxonomy,
        tokenizer_sha256=manifest.tokenizer.sha256,
        eot_id=manifest.tokenizer.eot_id,
        seq_len=manifest.seq_len,
        seed=manifest.seed,
        settings=manifest.settings,
    )


def references(plan: ShardPlan) -> tuple[CorpusReference, ...]:
    """The plan's corpora as a manifest names them."""
    return tuple(
        CorpusReference(
            corpus=corpus.corpus,
            version=corpus.version,
            field=corpus.field,
            synthetic=corpus.synthetic,
            manifest_sha256=content_digest(corpus),
        )
        for corpus in plan.corpora
    )


def published_dataset(warehouse: Warehouse, plan: ShardPlan) -> DatasetManifest | None:
    """The plan's dataset if it is there already; then there is nothing to do.

    Raises:
        InputError: If it, or another dataset, stands in the way of the plan's name.
    """
    known = [read_dataset_manifest(warehouse, dataset) for dataset in datasets(warehouse)]
    for manifest in known:
        if manifest.dataset == plan.dataset and plan.name not in ("", manifest.name):
            called = f"is called {manifest.name!r}" if manifest.name else "has no name"
            raise InputError(
                f"this dataset exists already as {manifest.dataset} and {called}; its name cannot "
                f"change. Leave out --name {plan.name} and use the id"
            )
        if manifest.dataset != plan.dataset and plan.name and plan.name == manifest.name:
            raise InputError(
                f"dataset {manifest.dataset} with other content or settings already has the name "
                f"{plan.name!r}; choose another --name"
            )
    return next((manifest for manifest in known if manifest.dataset == plan.dataset), None)


def resolve_corpora(warehouse: Warehouse, names: Sequence[str]) -> tuple[CorpusVersion, ...]:
    """The versions that `--corpus` values name.

    Args:
        names: `NAME` (its newest version) or `NAME@vK`. None at all means the pair
            `X-source` and `X-target`, if the warehouse holds nothing else.

    Raises:
        NotFoundError: If a corpus or version does not exist.
        InputError: If nothing was named and the choice is open.
    """
    if names:
        return tuple(_resolve(warehouse, name) for name in names)
    known = corpora(warehouse)
    stems = {re.sub(r"-(source|target)$", "", name) for name in known}
    if len(known) == 2 and len(stems) == 1 and not stems & set(known):
        return tuple(read_corpus_version(warehouse, name) for name in known)
    listed = ", ".join(known) or "none; run 'dmix etl classify' first"
    stem = next((stem for stem in sorted(stems) if {f"{stem}-source", f"{stem}-target"} <= set(known)), None)
    example = "" if stem is None else f", for example --corpus {stem}-source --corpus {stem}-target"
    raise InputError(
        f"{warehouse.root} has {num_text(len(known), 'corpus')} ({listed}), expected one pair NAME-source "
        f"and NAME-target; give each corpus with --corpus{example}"
    )


def estimated_tokens(plan: ShardPlan) -> dict[tuple[str, str], int]:
    """About how many tokens each (field, domain) will have, from the start of its text.

    Raises:
        NotFoundError: If a label file is missing.
    """
    estimates = {}
    for key, shard_inputs in plan.shard_inputs.items():
        texts = next(read_texts(shard_inputs[0], batch_bytes=_ESTIMATE_BYTES))
        probe_bytes = sum(len(text.encode()) for text in texts)
        ids, _ = plan.tokenizer.encode(texts)
        text_bytes, documents = (
            sum(shard_input.text_bytes for shard_input in shard_inputs),
            sum(shard_input.documents for shard_input in shard_inputs),
        )
        estimates[key] = round(len(ids) * text_bytes / max(1, probe_bytes)) + documents
    return estimates


def _resolve(warehouse: Warehouse, name: str) -> CorpusVersion:
    match = re.fullmatch(r"(.+?)(?:@v(\d+))?", name)
    if match is None or "@" in match[1]:
        raise InputError(
            f"corpus {name!r} has the wrong form; write NAME or NAME@vK, for example main-source@v2"
        )
    return read_corpus_version(warehouse, match[1], int(match[2]) if match[2] else None)


def _check_corpora(versions: Sequence[CorpusVersion]) -> None:
    if not versions:
        raise InputError("no corpora were given; give at least one with --corpus")
    first = versions[0]
    seen: dict[str, CorpusVersion] = {}
    for version in versions:
        if version.taxonomy != first.taxonomy:
            raise InputError(
                f"a dataset has one taxonomy, but the corpora have two: {first.corpus!r} has "
                f"{first.taxonomy.name!r} ({num_text(len(first.taxonomy), 'label')}), {version.corpus!r} has "
                f"{version.taxonomy.name!r} ({num_text(len(version.taxonomy), 'label')}); classify one of "
                "them again"
            )
        if not version.documents:
            raise InputError(
                f"corpus {version.corpus!r} version {version.version} has no documents, and "
                f"{num_text(version.rejected, 'rejected one')} (see the view 'rejects'); give only other "
                "corpora "
                "with --corpus"
            )
        other = seen.setdefault(content_digest(version), version)
        if other is not version:
            raise InputError(
                f"{other.corpus!r} version {other.version} and {version.corpus!r} version"
                f" {version.version} have the same documents; give one of them"
            )
    for source, target, shared in _shared_inputs(versions):
        if shared in (set(_inputs(source)), set(_inputs(target))):
            raise InputError(
                f"source corpus {source.corpus!r} and target corpus {target.corpus!r} have the same "
                f"files ({_some(shared, source)}), so both fields would have the same text; classify "
                "other files for one field, or give only one of them with --corpus"
            )
    names = [version.corpus for version in versions]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"two versions of corpus {twice[0]!r} were given; give one of them")


def shared_inputs(versions: Sequence[CorpusVersion]) -> list[str]:
    """A sentence for each pair of a source and a target corpus that some files are in both of."""
    return [
        f"warning: {num_text(len(shared), 'file')} ({_some(shared, source)}) are in source corpus "
        f"{source.corpus!r} and also in target corpus {target.corpus!r}; both fields use their text"
        for source, target, shared in _shared_inputs(versions)
    ]


def _shared_inputs(
    versions: Sequence[CorpusVersion],
) -> Iterator[tuple[CorpusVersion, CorpusVersion, set[str]]]:
    """(source, target, digests of the files of both), where there are any."""
    for source in versions:
        for target in versions:
            if (source.field, target.field) == FIELDS:
                shared = set(_inputs(source)) & set(_inputs(target))
                if shared:
                    yield source, target, shared


def _inputs(version: CorpusVersion) -> dict[str, str]:
    """Names of the inputs of a corpus by digest; empty files have no text to share."""
    found = (given for part in version.parts for given in part.inputs)
    return {given.sha256: given.name for given in found if given.size_bytes}


def _some(digests: set[str], version: CorpusVersion) -> str:
    """Names of a few inputs of a corpus."""
    names = sorted(name for digest, name in _inputs(version).items() if digest in digests)
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")


def _check_name(name: str) -> None:
    if name:
        checked_name("dataset", name)
    if re.fullmatch(r"[0-9a-f]{16}", name):
        raise InputError(f"dataset name {name!r} looks like an id; choose another --name")
