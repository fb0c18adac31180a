import zipfile

from dmix.training.run.checkpoint_files import checkpoints, latest_checkpoint


def write(folder, name, *, whole=True):
    with zipfile.ZipFile(folder / name, "w") as archive:
        archive.writestr("data", "x" * 1000)
    if not whole:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])


def test_the_newest_is_found_by_batch_and_then_by_step(tmp_path):
    for name in ("step9-ba90.pt", "step10-ba100.pt", "step9-ba100.pt", "other.pt"):
        write(tmp_path, name)
    names = [path.name for path in checkpoints(tmp_path)]
    assert names == ["step9-ba90.pt", "step9-ba100.pt", "step10-ba100.pt"]
    assert latest_checkpoint(tmp_path).name == "step10-ba100.pt"


def test_a_file_that_was_cut_short_is_no_checkpoint(tmp_path):
    write(tmp_path, "step1-ba3.pt")
    write(tmp_path, "step2-ba6.pt", whole=False)
    (tmp_path / "step3-ba9.pt").touch()
    assert latest_checkpoint(tmp_path).name == "step1-ba3.pt"


def test_an_absent_or_empty_folder_has_no_checkpoint(tmp_path):
    assert latest_checkpoint(tmp_path) is None and latest_checkpoint(tmp_path / "absent") is None
