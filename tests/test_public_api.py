"""What `import dmix` offers: a change of it is meant, or this fails."""

import importlib.metadata
import pkgutil
import subprocess
import sys

import pytest

import dmix

NAMES = [
    "Catalog",
    "Controller",
    "DmixError",
    "DomainSpace",
    "History",
    "MixedDataset",
    "MixedLoader",
    "PlanSettings",
    "Proposal",
    "Session",
    "Warehouse",
    "__version__",
    "open",
    "read_dataset_manifest",
]


def test_the_package_offers_these_names_its_version_and_five_folders():
    assert dmix.__all__ == NAMES
    assert set(NAMES) <= set(dir(dmix))
    assert dmix.__version__ == importlib.metadata.version("dmix")
    folders = ["cli", "etl", "mixing", "training", "warehouse_schema"]
    modules = {module.name for module in pkgutil.iter_modules(dmix.__path__)}
    assert sorted(modules - {"__main__"}) == folders


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"__version__"}))
def test_each_name_is_what_its_module_holds(name):
    found = getattr(dmix, name)
    assert found.__name__ == name
    assert found.__module__.startswith("dmix.")


def test_importing_the_package_brings_nothing_heavy_along():
    code = "import sys, dmix; print({'torch', 'streaming', 'duckdb', 'numpy'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"


def test_a_name_that_is_not_there_is_refused_as_python_does():
    with pytest.raises(AttributeError, match="'dmix' has no attribute 'MixedDatasets'"):
        _ = dmix.MixedDatasets
