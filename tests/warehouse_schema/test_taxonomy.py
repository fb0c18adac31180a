import re

import pytest

from dmix.warehouse_schema.errors import InputError, NotFoundError
from dmix.warehouse_schema.taxonomy import (
    DEFAULT_TAXONOMY,
    NVIDIA_26,
    Taxonomy,
    load_taxonomy,
    slug,
    taxonomy_from_file,
    taxonomy_from_labels,
)


def test_default_taxonomy_is_26_labels_in_alphabetical_order():
    assert len(DEFAULT_TAXONOMY) == 26
    assert list(NVIDIA_26) == sorted(NVIDIA_26)


def test_slug_keeps_safe_labels_and_marks_changed_ones():
    assert slug("Arts_and_Entertainment") == "Arts_and_Entertainment"
    assert slug("Real Estate") == "Real_Estate-5226954f"
    assert slug("日本") != slug("中国")
    assert slug("../..").startswith("domain-")


def test_labels_that_share_a_folder_are_refused():
    with pytest.raises(InputError, match="same folder name: 'Games' and 'games'"):
        Taxonomy("t", ("Games", "games"))


@pytest.mark.parametrize(("labels", "message"), [((), "no labels"), (("a", " "), "empty label")])
def test_empty_taxonomies_and_labels_are_refused(labels, message):
    with pytest.raises(InputError, match=message):
        Taxonomy("t", labels)


def test_index_names_the_label_that_is_unknown():
    assert Taxonomy("t", ("a", "b")).index("b") == 1
    with pytest.raises(InputError, match="label 'c' is not in taxonomy 't'"):
        Taxonomy("t", ("a", "b")).index("c")


def test_file_skips_blank_lines_and_comments(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("# mine\nb\n\n a \n")
    assert taxonomy_from_file(path) == Taxonomy("mine", ("b", "a"))
    with pytest.raises(NotFoundError, match=r"absent\.txt does not exist"):
        taxonomy_from_file(tmp_path / "absent.txt")


def test_labels_of_data_are_sorted_and_counted_once():
    assert taxonomy_from_labels("origin", ["b", "a", "b"]).labels == ("a", "b")


def test_json_form_comes_back_equal():
    taxonomy = Taxonomy("t", ("ä", "b"))
    assert Taxonomy.from_json(taxonomy.to_json()) == taxonomy


def test_weborganizer_has_24_topics_and_24_formats_with_folders_of_their_own():
    for name, first, last in (
        ("weborganizer-topics", "Adult", "Travel"),
        ("weborganizer-formats", "Academic Writing", "User Review"),
    ):
        taxonomy = load_taxonomy(name)
        assert (taxonomy.name, len(taxonomy)) == (name, 24)
        assert (taxonomy.labels[0], taxonomy.labels[-1]) == (first, last)
        assert len({slug(label).lower() for label in taxonomy.labels}) == 24
        assert all(re.fullmatch(r"[A-Za-z0-9_.-]+", slug(label)) for label in taxonomy.labels)


def test_taxonomies_are_named_or_files(tmp_path):
    assert load_taxonomy("nvidia-26") is DEFAULT_TAXONOMY
    path = tmp_path / "mine.txt"
    path.write_text("B\nA\n")
    assert load_taxonomy(str(path)) == Taxonomy("mine", ("B", "A"))
    with pytest.raises(NotFoundError, match=r"does not exist; .*weborganizer-topics"):
        load_taxonomy("weborganizer")


def test_a_file_cannot_take_the_name_of_another_taxonomy(tmp_path):
    path = tmp_path / "weborganizer-topics.txt"
    path.write_text("A\n")
    with pytest.raises(InputError, match=r"built-in taxonomy .weborganizer-topics., but other labels"):
        load_taxonomy(str(path))
    path.write_text("\n".join(load_taxonomy("weborganizer-topics").labels))
    assert load_taxonomy(str(path)) == load_taxonomy("weborganizer-topics")


def test_a_label_file_of_any_editor_has_the_same_labels(tmp_path):
    for name, content in (
        ("plain", b"Cats\r\nDogs\r\n"),
        ("marked", "\ufeffCats\r\nDogs\r\n".encode()),
        ("wide", "\ufeffCats\r\nDogs\r\n".encode("utf-16-le")),
    ):
        path = tmp_path / f"{name}.txt"
        path.write_bytes(content)
        assert taxonomy_from_file(path).labels == ("Cats", "Dogs")
    path.write_bytes("Größe".encode("latin-1"))
    with pytest.raises(InputError, match="save the file as UTF-8"):
        taxonomy_from_file(path)


@pytest.mark.parametrize("label", ["A", "Science", "数学"])
def test_a_label_that_comes_twice_is_refused(tmp_path, label):
    (tmp_path / "labels.txt").write_text(f"{label}\nOther\n{label}\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"same folder name: .*rename"):
        load_taxonomy(str(tmp_path / "labels.txt"))


def test_only_line_feeds_and_carriage_returns_part_the_labels_of_a_file(tmp_path):
    (tmp_path / "t.txt").write_bytes("a\u2028b\r\nc\x1ed\ne\rf\x85g".encode())
    assert taxonomy_from_file(tmp_path / "t.txt").labels == ("a\u2028b", "c\x1ed", "e", "f\x85g")
