"""Taxonomies: ordered lists of domain labels, and the two fields of every corpus.

Built in are the label set of nvidia/domain-classifier (model card on the Hugging Face hub) in
alphabetical order, which is the default, and the topics and formats of WebOrganizer; a file with one
label a line is another one. The order is part of every stored mixture.
"""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from dmix.warehouse_schema.errors import InputError, NotFoundError
from dmix.warehouse_schema.sizes import num_text
from dmix.warehouse_schema.text_files import read_text

FIELDS = ("source", "target")

NVIDIA_26 = (
    "Adult",
    "Arts_and_Entertainment",
    "Autos_and_Vehicles",
    "Beauty_and_Fitness",
    "Books_and_Literature",
    "Business_and_Industrial",
    "Computers_and_Electronics",
    "Finance",
    "Food_and_Drink",
    "Games",
    "Health",
    "Hobbies_and_Leisure",
    "Home_and_Garden",
    "Internet_and_Telecom",
    "Jobs_and_Education",
    "Law_and_Government",
    "News",
    "Online_Communities",
    "People_and_Society",
    "Pets_and_Animals",
    "Real_Estate",
    "Science",
    "Sensitive_Subjects",
    "Shopping",
    "Sports",
    "Travel_and_Transportation",
)

# Wettig et al. 2025, "Organize the Web: Constructing Domains Enhances Pre-Training Data Curation"
# (arXiv 2502.10341). Names and order are those of `id2label` in the config.json of
# huggingface.co/WebOrganizer/TopicClassifier and …/FormatClassifier.
WEBORGANIZER_TOPICS = (
    "Adult",
    "Art & Design",
    "Software Dev.",
    "Crime & Law",
    "Education & Jobs",
    "Hardware",
    "Entertainment",
    "Social Life",
    "Fashion & Beauty",
    "Finance & Business",
    "Food & Dining",
    "Games",
    "Health",
    "History",
    "Home & Hobbies",
    "Industrial",
    "Literature",
    "Politics",
    "Religion",
    "Science & Tech.",
    "Software",
    "Sports & Fitness",
    "Transportation",
    "Travel",
)

WEBORGANIZER_FORMATS = (
    "Academic Writing",
    "Content Listing",
    "Creative Writing",
    "Customer Support",
    "Comment Section",
    "FAQ",
    "Truncated",
    "Knowledge Article",
    "Legal Notices",
    "Listicle",
    "News Article",
    "Nonfiction Writing",
    "About (Org.)",
    "News (Org.)",
    "About (Pers.)",
    "Personal Blog",
    "Product Page",
    "Q&A Forum",
    "Spam / Ads",
    "Structured Data",
    "Documentation",
    "Audio Transcript",
    "Tutorial",
    "User Review",
)


_LONGEST_READ = 2000
"""Characters of a label that its folder's name follows from, beside its hash."""


def slug(label: str) -> str:
    """A path-safe form of a label: ASCII letters, digits, `_`, `-` and `.`; never empty.

    A label that has to be changed gets eight hexadecimal digits of its SHA-256 appended, so
    that two labels never share a folder, on case-insensitive file systems neither.
    """
    # a run of marks takes time that is the square of its length
    ascii_form = unicodedata.normalize("NFKD", label[:_LONGEST_READ]).encode("ascii", "ignore").decode()
    safe = re.sub(r"[^A-Za-z0-9_.-]+", "_", ascii_form).strip("._")[:80]
    if safe == label:
        return safe
    return f"{safe or 'domain'}-{sha256(label.encode()).hexdigest()[:8]}"


@dataclass(frozen=True)
class Taxonomy:
    """An ordered set of domain labels.

    Attributes:
        name: What users call it, for example `nvidia-26`.
        labels: Display names in the order that every mixture vector follows.

    Raises:
        InputError: If there is no label, an empty one, or one that comes twice (also when two
            differ in case alone, since their folders would collide).
    """

    name: str
    labels: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.labels:
            raise InputError(f"taxonomy {self.name!r} has no labels; give at least one label")
        if any(not label.strip() for label in self.labels):
            raise InputError(f"taxonomy {self.name!r} has an empty label; remove the empty line")
        seen: dict[str, str] = {}
        for label in self.labels:
            folder = slug(label).lower()
            if folder in seen:
                raise InputError(
                    f"two labels of taxonomy {self.name!r} give the same folder name: {seen[folder]!r} and"
                    f" {label!r}; rename or remove one"
                )
            seen[folder] = label

    def __len__(self) -> int:
        return len(self.labels)

    def index(self, label: str) -> int:
        """Position of `label`.

        Raises:
            InputError: If the label is not in the taxonomy.
        """
        try:
            return self.labels.index(label)
        except ValueError:
            raise InputError(
                f"label {label!r} is not in taxonomy {self.name!r} ({num_text(len(self), 'label')},"
                f" first ones: {', '.join(self.labels[:3])}); correct the label or choose another taxonomy"
            ) from None

    def to_json(self) -> dict:
        return {"name": self.name, "labels": list(self.labels)}

    @classmethod
    def from_json(cls, value: dict) -> "Taxonomy":
        return cls(value["name"], tuple(value["labels"]))


DEFAULT_TAXONOMY = Taxonomy("nvidia-26", NVIDIA_26)

BUILT_IN = {
    taxonomy.name: taxonomy
    for taxonomy in (
        DEFAULT_TAXONOMY,
        Taxonomy("weborganizer-topics", WEBORGANIZER_TOPICS),
        Taxonomy("weborganizer-formats", WEBORGANIZER_FORMATS),
    )
}


def load_taxonomy(given: str) -> Taxonomy:
    """The taxonomy that a user named: one of `BUILT_IN`, or a file (`taxonomy_from_file`).

    Raises:
        NotFoundError: If it is neither.
        InputError: If the file holds no valid set of labels, or takes the name of another taxonomy.
    """
    if given in BUILT_IN:
        return BUILT_IN[given]
    if not Path(given).is_file():
        raise NotFoundError(
            f"taxonomy {given!r} does not exist; give a file with one label per line, or one of "
            f"{', '.join(BUILT_IN)}"
        )
    taxonomy = taxonomy_from_file(given)
    known = BUILT_IN.get(taxonomy.name)
    if known is not None and known != taxonomy:
        raise InputError(
            f"taxonomy file {given} has the same name as the built-in taxonomy {taxonomy.name!r}, but "
            "other labels; rename the file"
        )
    return taxonomy


def taxonomy_from_file(path: str | Path) -> Taxonomy:
    """The taxonomy of a text file: one label per line, blank lines and `#` comments left out.

    Raises:
        NotFoundError: If the file does not exist.
        InputError: If it holds no valid set of labels.
    """
    path = Path(path)
    if not path.is_file():
        raise NotFoundError(f"taxonomy file {path} does not exist; give a file with one label per line")
    # a line separator of Unicode or another control character may be part of a label, as it is in a column
    lines = (line.strip() for line in re.split("\r\n|\r|\n", read_text(path)))
    return Taxonomy(path.stem, tuple(line for line in lines if line and not line.startswith("#")))


def taxonomy_from_labels(name: str, labels: Iterable[str]) -> Taxonomy:
    """The taxonomy of the labels that a corpus brings along, in alphabetical order."""
    return Taxonomy(name, tuple(sorted(set(labels))))
