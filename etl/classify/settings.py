"""What a user chooses about classification; light, so that the command line can import it."""

from dataclasses import dataclass

from dmix.etl.templates.settings import TextSettings
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.settings import MOST_BYTES, check_range, setting

MOST_DOCUMENT_BYTES = 1 << 30
"""Arrow counts the bytes of a column of text with 31 bits; a batch may hold one document more."""


@dataclass(frozen=True, kw_only=True)
class ClassifySettings(TextSettings):
    """How documents are read and get their domain.

    Raises:
        InputError: If a number is out of range or a column has no name.
    """

    classifier: str = setting(
        "embedded",
        help="Classifier that labels documents with a domain. 'embedded' is part of dmix. 'nvidia' comes "
        "from the Hugging Face hub, and 'nvidia:PATH' from a folder. 'distilled:NAME' is a classifier that "
        "'dmix etl distil' made. 'column:NAME' takes the labels from a column of the documents.",
    )
    taxonomy: str | None = setting(
        None,
        help="Labels that --classifier column:NAME accepts. Give a file with one label per line, or one "
        "of the lists 'nvidia-26', 'weborganizer-topics' and 'weborganizer-formats'. With 'from-data', dmix "
        "accepts all labels in the data. Default: the 26 labels of nvidia/domain-classifier.",
    )
    fallback: str | None = setting(
        None, help="Second classifier, which labels the documents with a margin below --margin."
    )
    margin: float = setting(
        0.2,
        help="Limit on the margin of the first classifier, from 0 to 1. The margin is the probability of the "
        "best label minus the probability of the second-best label. Below this limit, --fallback labels "
        "the document.",
    )
    id_column: str | None = setting(
        None,
        help="Column of the document's id. Default: the column 'id'. Without that column, dmix makes an "
        "id from the file name and the document's position.",
    )
    max_document_bytes: int = setting(
        256 << 20,
        help="Maximum size of a document in bytes, as stored in the input file. dmix rejects larger "
        "documents.",
        most=MOST_BYTES,
    )
    part_bytes: int = setting(
        16 << 20,
        help="Maximum size of a part in bytes. dmix groups small input files into parts, and classifies "
        "each part as one task.",
        most=MOST_BYTES,
    )
    piece_bytes: int = setting(
        32 << 20,
        help="Minimum size of a piece in bytes. dmix cuts an input file larger than --part-bytes into "
        "pieces, and classifies each piece separately. For a compressed file of lines, such as .jsonl.gz, "
        "the size after decompression counts.",
        most=MOST_BYTES,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "margin", least=0, most=1, flags=True)
        if self.id_column == "":
            raise InputError("id_column is empty; give a column with --id-column")
        check_range(self, "max_document_bytes", least=1, most=MOST_DOCUMENT_BYTES, flags=True)
        check_range(self, "part_bytes", "piece_bytes", least=1, flags=True)
