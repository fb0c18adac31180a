import json
import sys
from types import SimpleNamespace

import pytest

from dmix.cli.main import run
from dmix.cli.workflows.start import doctor as doctor_module
from dmix.cli.workflows.start.doctor import (
    bf16_check,
    disk_check,
    import_check,
    java_check,
    link_checks,
    loops_check,
    memory_check,
    optional_check,
    package_checks,
    python_check,
    training_checks,
)


@pytest.fixture
def quick(monkeypatch):
    """Leaves out the import of torch, which takes seconds."""
    fine = doctor_module.Check(name="import", status="ok", found="works")
    monkeypatch.setattr(doctor_module, "import_check", lambda package: fine)
    monkeypatch.setattr(doctor_module, "gpu_check", lambda: fine)


def test_doctor_finds_this_installation_in_order(capsys, tmp_path):
    code = run(["doctor", "--json", "--warehouse", str(tmp_path / "not" / "yet")])
    report = json.loads(capsys.readouterr().out)
    checks = {check["name"]: check for check in report["checks"]}
    assert (code, report["ok"]) == (0, True), [c for c in report["checks"] if c["status"] == "missing"]
    assert {
        "python",
        "duckdb",
        "torch",
        "import torch",
        "java",
        "cores",
        "memory",
        "gpu",
        "disk",
    } <= checks.keys()
    assert checks["duckdb"]["found"].startswith("2.")
    assert str(tmp_path) in checks["disk"]["found"]
    assert "hypothesis" not in checks  # of an extra


def test_doctor_without_java_fails_and_says_how_to_get_it(capsys, monkeypatch, quick):
    monkeypatch.setattr(doctor_module, "java_version", lambda: None)
    assert run(["doctor"]) == 1
    captured = capsys.readouterr()
    assert "not found" in captured.out
    assert "missing: java: install Java 17 or newer" in captured.err


def test_java_must_be_17_or_newer():
    assert java_check(17).status == "ok"
    assert java_check(21).fix == ""
    assert (java_check(11).status, java_check(11).found) == ("missing", "version 11")


@pytest.mark.parametrize(
    ("version", "status"),
    [((3, 10, 1), "missing"), ((3, 11, 0), "ok"), ((3, 13, 9), "ok"), ((3, 14, 0), "missing")],
)
def test_python_must_be_one_that_torch_is_built_for(version, status):
    assert python_check(version).status == status


def test_packages_that_are_absent_or_too_old_are_named_with_the_command():
    wanted = ["click>=8", "click>=99", "no-such-package-here>=1", "pytest; extra == 'dev'"]
    fine, old, absent = package_checks(wanted)
    assert (fine.status, old.status, absent.status) == ("ok", "missing", "missing")
    assert old.found.endswith("expected >=99")
    assert absent.fix == "run pip install 'no-such-package-here>=1'"


def test_without_torch_training_is_optional_and_nothing_is_missing(monkeypatch):
    def version(name: str) -> str:
        raise doctor_module.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(doctor_module.metadata, "version", version)
    (check,) = training_checks(["torch==2; extra == 'train'", "click"])
    assert (check.name, check.status) == ("torch", "optional")
    assert "dmix[train]" in check.fix


def test_packages_of_training_are_checked_where_torch_is(monkeypatch):
    fine = doctor_module.Check(name="import", status="ok", found="works")
    monkeypatch.setattr(doctor_module, "import_check", lambda package: fine)
    wanted = ["click", "torch>=2; extra == 'train'", "no-such-package-here; extra == 'train'"]
    checks = {check.name: check.status for check in training_checks(wanted)}
    assert checks == {"torch": "ok", "no-such-package-here": "missing", "import": "ok"}


def test_a_package_that_breaks_on_import_is_missing(tmp_path, monkeypatch):
    (tmp_path / "broken_build.py").write_text(
        "raise RuntimeError('operator torchvision::nms does not exist')"
    )
    monkeypatch.syspath_prepend(tmp_path)
    check = import_check("broken_build")
    assert (check.status, check.found) == ("missing", "operator torchvision::nms does not exist")
    assert import_check("json").status == "ok"
    sys.modules.pop("broken_build", None)


def test_absent_compiled_loops_are_a_warning_that_names_the_compiler():
    assert loops_check(True).status == "ok"
    absent = loops_check(False)
    assert absent.status == "warning" and "gcc" in absent.fix


def test_a_full_disk_is_a_warning(tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 10**9})
    monkeypatch.setattr(doctor_module.shutil, "disk_usage", lambda folder: usage)
    assert disk_check(tmp_path).status == "warning"
    assert "1.0 GB free" in disk_check(tmp_path).found


def test_packages_of_extras_are_optional(monkeypatch):
    monkeypatch.setitem(doctor_module.OPTIONAL, "no-such-package", ("eval", "dmix eval"))
    monkeypatch.setitem(doctor_module.OPTIONAL, "click", ("eval", "dmix eval"))
    missing = optional_check("no-such-package")
    assert (missing.status, missing.found) == ("optional", "not installed; dmix eval needs it")
    assert missing.fix.endswith("'dmix[eval]'")
    assert optional_check("click").status == "ok"


def test_little_memory_is_a_warning(monkeypatch):
    import psutil

    memory = SimpleNamespace(total=8 * 2**30, available=2**30)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    found = memory_check()
    assert found.status == "warning" and "1.0 of" in found.found and found.fix


def test_links_of_a_warehouse_are_named_and_one_that_leads_nowhere_is_missing(tmp_path):
    root = tmp_path / "warehouse"
    (tmp_path / "scratch").mkdir()
    (root / "labels").mkdir(parents=True)
    assert list(link_checks(root)) == []
    (root / "streams").symlink_to(tmp_path / "scratch")
    (root / "runs").symlink_to(tmp_path / "nowhere")
    runs, streams = link_checks(root)
    assert (runs.name, runs.status, str(root / "runs") in runs.fix) == ("link runs", "missing", True)
    assert (streams.status, str(tmp_path / "scratch") in streams.found) == ("ok", True)


@pytest.mark.parametrize(("names", "said"), [(("AMX",), "AMX"), ((), "leave precision at auto")])
def test_bf16_is_proposed_where_the_processor_multiplies_it(names, said):
    check = bf16_check(names)
    assert check.status == "ok" and said in check.found


@pytest.mark.parametrize(("major", "status"), [(7, "warning"), (8, "ok")])
def test_a_gpu_without_bf16_is_named(monkeypatch, major, status):
    import torch

    device = SimpleNamespace(name="G", total_memory=2**34, major=major)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: device)
    check = doctor_module.gpu_check()
    assert (check.status, "fp32" in check.fix) == (status, status == "warning") and "16 GiB" in check.found
