"""No bytes make reading raise, or lose a row; `make soak` tries thousands of each kind."""

from tests.etl.reading import fuzzing


def test_mutated_json_lines_are_labels_and_rejects(tmp_path):
    found = fuzzing.run(fuzzing.check_lines, ".jsonl", tmp_path, first=0, count=200)
    assert found["documents"] > 100
    assert found["malformed_json"] > 20


def test_mutated_parquet_files_are_labels_and_rejects_or_one_reject(tmp_path):
    found = fuzzing.run(fuzzing.check_parquet, ".parquet", tmp_path, first=0, count=200)
    assert found["documents"] > 100
    assert found["damaged_input"] > 10
