"""What a user chooses about classification; light, so that the command line can import it."""

from dataclasses import dataclass

from dmix.etl.templates.settings import TextSettings
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.settings import setting

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
        help="Classifier that gives documents their domain: 'embedded' (ships with dmix), 'nvidia' (from"
        " the hub), 'nvidia:PATH' (a folder with its files), 'distilled:NAME' (made by dmix etl"
        " distil), or 'column:NAME' (labels in the documents).",
    )
    taxonomy: str | None = setting(
        None,
        help="Labels that --classifier column:NAME allows: a file with one label per line,"
        " 'nvidia-26', 'weborganizer-topics', 'weborganizer-formats', or 'from-data'."
        " Default: the 26 labels of nvidia/domain-classifier.",
    )
    fallback: str | None = setting(
        None, help="Second classifier, which decides on documents whose margin is below --margin."
    )
    margin: float = setting(
        0.2,
        help="Margin below which --fallback decides. The margin is the most probable label's lead over"
        " the second one, in [0, 1].",
    )
    id_column: str | None = setting(
        None,
        help="Column of the document's id. Default: the column 'id'; without one, a hash of the input's"
        " name and the document's position in it.",
    )
    max_document_bytes: int = setting(
        256 << 20,
        help="Size limit of a document in bytes, measured in the input file. dmix rejects larger documents.",
    )
    part_bytes: int = setting(
        16 << 20,
        help="Part size in bytes. dmix classifies smaller inputs together, in parts of up to this size.",
    )
    piece_bytes: int = setting(
        32 << 20,
        help="Piece size in bytes. dmix cuts inputs above --part-bytes into pieces of at least"
        " this size (compressed lines: after decompression). It classifies and stores each"
        " piece separately.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.margin <= 1:
            raise InputError(f"margin is {self.margin}, expected 0 to 1; change --margin")
        if self.id_column == "":
            raise InputError("id_column is empty; name a column with --id-column")
        if not 1 <= self.max_document_bytes <= MOST_DOCUMENT_BYTES:
            raise InputError(
                f"max_document_bytes is {self.max_document_bytes}, expected 1 to {MOST_DOCUMENT_BYTES};"
                " change --max-document-bytes"
            )
        for name in ("part_bytes", "piece_bytes"):
            if getattr(self, name) < 1:
                flag = name.replace("_", "-")
                raise InputError(f"{name} is {getattr(self, name)}, expected at least 1; change --{flag}")
