import pytest

from dmix.warehouse_schema.errors import InputError, NotFoundError
from dmix.warehouse_schema.taxonomy import (
    DEFAULT_TAXONOMY,
    NVIDIA_26,
    Taxonomy,
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
    with pytest.raises(InputError, match="one folder: 'Games' and 'games'"):
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
