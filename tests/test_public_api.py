"""What `import dmix` offers: a change of it is meant, or this fails."""

import importlib.metadata
import pkgutil

import dmix


def test_the_package_offers_its_version_and_five_folders():
    assert dmix.__all__ == ["__version__"]
    assert dmix.__version__ == importlib.metadata.version("dmix")
    folders = ["cli", "etl", "mixing", "training", "warehouse_schema"]
    assert sorted(module.name for module in pkgutil.iter_modules(dmix.__path__)) == folders
