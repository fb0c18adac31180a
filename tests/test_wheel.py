"""A wheel holds every file of the packages that git knows, and nothing that is not there."""

import subprocess
from pathlib import Path

import pytest
from setuptools import Distribution

ROOT = Path(__file__).parents[1]
PACKAGES = ("cli", "etl", "mixing", "training", "warehouse_schema")


@pytest.fixture(scope="module")
def packed():
    """Files that `setup.cfg` puts into a wheel, relative to the package dmix."""
    distribution = Distribution({"script_name": "setup.py"})
    distribution.parse_config_files([str(ROOT / "setup.cfg")])
    build = distribution.get_command_obj("build_py")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        build.ensure_finalized()
        modules = {Path(path) for _, _, path in build.find_all_modules()}
        data = {Path(folder) / name for _, folder, _, names in build.data_files for name in names}
    return {str(path.relative_to("src/dmix")) for path in modules | data}


def tracked(*folders):
    done = subprocess.run(
        ["git", "ls-files", "-z", *folders], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip("these sources are no git checkout")
    return [name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_a_wheel_holds_every_file_of_every_package(packed):
    assert sorted(set(tracked(*PACKAGES)) - packed) == []


def test_a_wheel_holds_the_examples(packed):
    examples = {name.removeprefix("docs/") for name in tracked("docs/examples")}
    assert sorted(examples - packed) == []
