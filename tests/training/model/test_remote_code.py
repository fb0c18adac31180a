"""Code that a model folder brings along runs for nobody, whatever is answered to transformers' question."""

import ast
import builtins
import json
from pathlib import Path

import pytest

import dmix
from dmix.etl.text.tokens import load_tokenizer
from dmix.training.model.models import load_network
from dmix.training.model.own_tokenizer import own_tokenizer
from dmix.warehouse_schema.errors import DmixError

FOLDERS = ("etl", "training", "mixing", "cli")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A checkpoint of an unknown family whose configuration, model and tokenizer are code of its own."""
    monkeypatch.setattr(builtins, "input", lambda *_: "y")
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    names = {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M", "AutoTokenizer": ["evil.T", "evil.T"]}
    for file, values in (
        ("config.json", {"model_type": "evil"}),
        ("tokenizer_config.json", {"tokenizer_class": "T"}),
    ):
        (tmp_path / file).write_text(json.dumps({**values, "auto_map": names}))
    return tmp_path


@pytest.mark.parametrize("load", [load_network, own_tokenizer, load_tokenizer])
def test_code_of_a_model_folder_does_not_run(folder, load):
    with pytest.raises(DmixError):
        load(str(folder))
    assert not (folder / "ran").exists()


def test_everything_that_asks_transformers_says_so():
    root = Path(dmix.__file__).parent
    silent = []
    for path in (path for name in FOLDERS for path in (root / name).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            owner = ast.unparse(node.func.value)
            asks = node.func.attr == "from_pretrained" and (owner.startswith("Auto") or owner == "kind")
            if asks and "trust_remote_code" not in {keyword.arg for keyword in node.keywords}:
                silent.append(f"{path.relative_to(root)}:{node.lineno}")
    assert silent == []
