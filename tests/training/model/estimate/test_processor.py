"""What the system says of the processor."""

import pytest
import torch

from dmix.training.model.estimate import processor


@pytest.fixture
def cpuinfo(tmp_path, monkeypatch):
    def write(text):
        monkeypatch.setattr(processor.platform, "system", lambda: "Linux")
        monkeypatch.setattr(processor, "_CPUINFO", tmp_path / "cpuinfo")
        (tmp_path / "cpuinfo").write_text(text)

    return write


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("flags\t\t: fpu avx2 avx512f\n", ()),
        ("flags\t\t: fpu avx512_bf16 amx_bf16 amx_tile\n", ("AVX512-BF16", "AMX")),
        ("Features\t: fp asimd bf16 i8mm\n", ("ARM BF16",)),
        ("flags : fpu\n\nprocessor : 1\nflags : avx512_bf16\n", ()),  # the first processor counts
        ("model name : bf16\nflags : fpu\n", ()),
    ],
)
def test_the_flags_of_linux_name_the_instructions(cpuinfo, text, found):
    cpuinfo(text)
    assert processor.bf16_instructions() == found and processor.cpu_has_bf16() == bool(found)


def test_a_processor_without_a_name_is_its_architecture(cpuinfo):
    cpuinfo("model name : A Processor\nflags : fpu\n")
    assert processor.processor_name() == "A Processor"
    cpuinfo("flags : fpu\n")
    assert processor.processor_name() == processor.platform.machine()


def test_a_mac_is_asked_by_sysctl(monkeypatch):
    answers = {"hw.optional.arm.FEAT_BF16": "1", "machdep.cpu.brand_string": "Apple M2"}
    monkeypatch.setattr(processor.platform, "system", lambda: "Darwin")
    monkeypatch.setattr(processor, "_sysctl", lambda name: answers.get(name, ""))
    assert (processor.bf16_instructions(), processor.processor_name()) == (("ARM BF16",), "Apple M2")
    answers.clear()
    assert (processor.bf16_instructions(), processor.processor_name()) == ((), processor.platform.machine())


def test_a_system_without_these_files_has_none(monkeypatch, tmp_path):
    monkeypatch.setattr(processor, "_CPUINFO", tmp_path / "nothing")
    monkeypatch.setattr(processor.platform, "system", lambda: "Linux")
    assert processor.bf16_instructions() == ()
    monkeypatch.setattr(processor.platform, "system", lambda: "Darwin")  # without the program sysctl
    monkeypatch.setenv("PATH", str(tmp_path))
    assert processor.bf16_instructions() == ()


@pytest.mark.skipif(processor.platform.machine() != "x86_64", reason="torch names these flags on x86 alone")
def test_the_answer_is_that_of_torch():
    known = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    assert processor.cpu_has_bf16() == bool(known)
