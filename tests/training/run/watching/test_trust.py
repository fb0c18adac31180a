import pytest

from dmix.mixing.controllers.custom import code_digest, load_module
from dmix.training.run.watching.trust import require_trusted, trust_controllers, trust_file
from dmix.warehouse_schema.errors import InputError, NotFoundError

CODE = "with open({mark!r}, 'a') as mark:\n    mark.write('x')\nclass C:\n    propose = None\n"


@pytest.fixture
def code(tmp_path, monkeypatch):
    """(spec of a controller, the file that its code writes when it runs); nothing is trusted."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    mark = tmp_path / "ran"
    (tmp_path / "own.py").write_text(CODE.format(mark=str(mark)))
    return f"python:{tmp_path / 'own.py'}:C", mark


def test_unknown_code_is_refused_and_not_run(code):
    spec, mark = code
    with pytest.raises(InputError, match=r"runs/x/config.yaml contains the controller .*--trust-controller"):
        require_trusted(["natural", spec, ""], origin="runs/x/config.yaml")
    assert not mark.exists()


def test_what_a_user_started_a_run_with_may_be_resumed_until_it_changes(code, tmp_path):
    spec, mark = code
    trust_controllers([spec, "naive"])
    require_trusted([spec], origin="x")
    assert not mark.exists()
    assert trust_file().stat().st_mode & 0o077 == 0
    (tmp_path / "own.py").write_text("class C: propose = print")
    with pytest.raises(InputError, match="SHA-256"):
        require_trusted([spec], origin="x")


def test_a_trust_file_that_others_may_write_is_not_believed(code):
    spec, _ = code
    trust_controllers([spec])
    trust_file().chmod(0o666)
    with pytest.raises(InputError):
        require_trusted([spec], origin="x")


def test_controllers_of_dmix_need_no_trust(code):
    require_trusted(["natural", "agent:a1", ""], origin="x")
    trust_controllers(["natural"])
    assert not trust_file().exists()


def test_a_module_is_known_by_its_file_without_being_imported(code, tmp_path, monkeypatch):
    _, mark = code
    package = tmp_path / "strange"
    package.mkdir()
    (package / "__init__.py").write_text(CODE.format(mark=str(mark)))
    (package / "inner.py").write_text("class C: propose = print")
    monkeypatch.syspath_prepend(str(tmp_path))
    digests = {code_digest("python:strange:C"), code_digest("python:strange.inner:C")}
    assert len(digests) == 2 and not mark.exists()
    with pytest.raises(NotFoundError, match="not installed"):
        code_digest("python:no_such_module_at_all:C")


def test_a_file_is_loaded_once(code, tmp_path):
    _, mark = code
    first = load_module(str(tmp_path / "own.py"))
    assert load_module(str(tmp_path / "own.py")) is first
    assert mark.read_text() == "x"
