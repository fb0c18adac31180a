"""GPUs by the files of a driver, in a folder that stands in for the system's."""

import subprocess
import sys

import pytest

from dmix.warehouse_schema import gpus
from dmix.warehouse_schema.gpus import gpus_in_sight, memory_by_driver, number_of_gpus

ROWS = "GPU-aa1, [N/A], 70000, 80000\nGPU-bb2, [N/A], 60000, 80000\n"


def machine(root, *devices, listed=0):
    """A system folder with these device files, and GPUs that the driver lists."""
    (root / "dev").mkdir()
    for name in devices:
        (root / "dev" / name).touch()
    for number in range(listed):
        (root / "proc/driver/nvidia/gpus" / f"0000:0{number}:00.0").mkdir(parents=True)
    return root


@pytest.mark.parametrize(
    ("devices", "listed", "number"),
    [
        ((), 0, 0),
        ((), 2, 0),  # a container sees the driver's list, and none of its devices
        (("nvidia0", "nvidia1"), 2, 0),
        (("nvidiactl", "nvidia-uvm", "nvidia-caps", "nvidia0", "nvidia11"), 8, 2),
        (("nvidiactl",), 3, 3),
        (("nvidiactl",), 0, 0),
        (("kfd",), 0, None),
        (("dxg",), 0, None),
    ],
)
def test_device_files_count(tmp_path, monkeypatch, devices, listed, number):
    monkeypatch.setattr(gpus, "_uses_cuda", lambda: True)
    assert number_of_gpus(machine(tmp_path, *devices, listed=listed), None) == number


@pytest.mark.parametrize(
    ("visible", "number"),
    [("", 0), ("-1", 0), ("0", 1), ("1,0", 2), ("0,2,1", 1), ("7", 0), ("GPU-aa1", 1), ("MIG-x,MIG-y", 2)],
)
def test_a_process_sees_those_that_it_may_use(tmp_path, monkeypatch, visible, number):
    monkeypatch.setattr(gpus, "_uses_cuda", lambda: True)
    assert number_of_gpus(machine(tmp_path, "nvidiactl", "nvidia0", "nvidia1"), visible) == number


@pytest.mark.parametrize(
    ("line", "number"), [("cuda: Optional[str] = '12.6'", 1), ("cuda: Optional[str] = None", 0), ("", 1)]
)
def test_a_torch_for_processors_has_no_gpu(tmp_path, monkeypatch, line, number):
    package = tmp_path / "packages" / "torch"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "version.py").write_text(f"__version__ = '2'\n{line}\nhip: Optional[str] = None\n")
    monkeypatch.setattr(sys, "path", [str(package.parent)])
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert number_of_gpus(machine(tmp_path, "nvidiactl", "nvidia0"), None) == number


@pytest.fixture
def with_gpus(tmp_path, monkeypatch):
    """Two GPUs in a process without torch, and what `nvidia-smi` answers."""
    monkeypatch.setattr(gpus, "_uses_cuda", lambda: True)
    monkeypatch.setattr(gpus, "ROOT", machine(tmp_path, "nvidiactl", "nvidia0", "nvidia1"))
    monkeypatch.delitem(sys.modules, "torch", raising=False)

    def answers(text):
        def run(command, **_):
            return subprocess.CompletedProcess(command, 0, stdout=text, stderr="")

        monkeypatch.setattr(gpus.subprocess, "run", run)

    return answers


@pytest.mark.parametrize(
    ("visible", "found"), [(None, (70000, 80000)), ("1", (60000, 80000)), ("GPU-b,0", (60000, 80000))]
)
def test_the_driver_says_the_memory_of_the_first_gpu_in_sight(with_gpus, monkeypatch, visible, found):
    with_gpus(ROWS)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert memory_by_driver() == tuple(size << 20 for size in found)


@pytest.mark.parametrize(
    "rows",
    [
        "",
        ROWS.replace("60000, 80000", "20000, 24000"),  # sizes differ: which one comes first for CUDA?
        ROWS.replace("[N/A]", "Enabled", 1),
        ROWS.replace("70000", "[N/A]"),
        "no devices were found\n",
    ],
)
def test_torch_is_asked_where_the_driver_is_not_sure(with_gpus, monkeypatch, rows):
    with_gpus(rows)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert memory_by_driver() is None


def test_torch_is_asked_where_it_is_imported(with_gpus, monkeypatch):
    with_gpus(ROWS)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert gpus_in_sight() == 2
    monkeypatch.setitem(sys.modules, "torch", sys)
    assert gpus_in_sight() is None and memory_by_driver() is None
