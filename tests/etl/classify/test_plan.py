"""What a call would do is refused before anything is read where it cannot be meant."""

import pytest

from dmix.etl.classify.plan import CorpusRequest, plan_corpora
from dmix.etl.classify.settings import ClassifySettings
from dmix.warehouse_schema.errors import InputError


@pytest.mark.parametrize("target", ["in", "link", "in/a.jsonl"])
def test_one_folder_as_source_and_target_is_refused(tmp_path, warehouse, target):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.jsonl").write_text('{"text": "a"}\n')
    (tmp_path / "link").symlink_to(folder)
    requests = [
        CorpusRequest(corpus="main-source", field="source", inputs=(str(folder),)),
        CorpusRequest(corpus="main-target", field="target", inputs=(str(tmp_path / target),)),
    ]
    with pytest.raises(InputError, match=r"a\.jsonl is an input of both fields, source and target"):
        plan_corpora(None, warehouse, requests, settings=ClassifySettings(), progress=lambda line: None)
