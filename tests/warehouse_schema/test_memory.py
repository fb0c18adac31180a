"""How much memory a container leaves."""

from dmix.warehouse_schema.memory import container_room


def test_files_that_a_container_keeps_in_memory_count_as_free(tmp_path):
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("900\n")
    (tmp_path / "memory.stat").write_text("anon 200\ninactive_file 600\nactive_file 100\n")
    assert container_room(tmp_path) == 700


def test_a_container_without_a_limit_is_no_limit(tmp_path):
    assert container_room(tmp_path) is None
    (tmp_path / "memory.max").write_text("max\n")
    assert container_room(tmp_path) is None
