"""Items are drawn from text that stays where it is, unless they need the ends of documents."""

import json

import pytest

from dmix.cli.workflows.start.held_out import draw
from dmix.etl.reading.holdout import PLAIN


@pytest.mark.parametrize(("documents", "copied"), [(4_000, False), (60, True)])
def test_text_is_copied_only_where_it_is_cut(tmp_path, documents, copied):
    lines = [json.dumps({"id": str(i), "text": f"text {i} " * 200}) for i in range(documents)]
    folder = tmp_path / "text"
    folder.mkdir()
    (folder / "a.jsonl").write_text("\n".join(lines))
    for dry_run in (True, False):
        out = tmp_path / "out"
        found = draw([str(folder)], field="source", out=out, columns=PLAIN, dry_run=dry_run)
        assert found.copied == copied and found.feedback >= 30 and found.judging >= 30
        assert found.inputs == (("data/source",) if copied else (str(folder),))
        assert out.exists() != dry_run
    assert (out / "data/source/documents.jsonl").is_file() == copied
