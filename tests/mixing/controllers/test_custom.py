"""Controllers of one's own: found by module or file, and refused with a reason."""

import numpy as np
import pytest

from dmix.mixing.controllers.registry import make_controller
from dmix.warehouse_schema.errors import InputError, NotFoundError
from dmix.warehouse_schema.files.layout import Warehouse

SOURCE = """
from dmix.mixing.controllers import Proposal

class Mine:
    def propose(self, history):
        return Proposal(history.space.start_N)

class Share:
    name = "my share"

    def __init__(self, argument):
        self.share = float(argument)

    def propose(self, history):
        return Proposal(history.space.expand([1 - self.share, self.share]))

class Mute:
    pass
"""


@pytest.fixture
def make(space, tmp_path):
    return lambda spec: make_controller(spec, warehouse=Warehouse.at(tmp_path), space=space)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "my_mixing.py"
    path.write_text(SOURCE.replace("[1 - self.share, self.share]", "np.array([1 - self.share, self.share])"))
    path.write_text("import numpy as np\n" + path.read_text())
    return path


def test_a_class_of_a_file(make, file, history, space):
    controller = make(f"python:{file}:Mine")
    assert controller.name == "python:Mine"
    np.testing.assert_array_equal(controller.propose(history(1)).mixture_N, space.start_N)


def test_a_class_of_a_module_that_is_installed(make):
    assert make("python:dmix.mixing.controllers.odm:OdmController").name == "odm"


def test_what_follows_the_class_is_its_argument(make, file, history):
    controller = make(f"python:{file}:Share:0.4")
    assert controller.name == "my share"
    assert controller.propose(history(1)).mixture_N[0] == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ("python:only_a_module", InputError, "write python:MODULE:CLASS or python:FILE.py:CLASS"),
        ("python:no_such_module:Mine", NotFoundError, "'no_such_module' is not installed"),
        ("python:nowhere.py:Mine", NotFoundError, "file nowhere.py does not exist"),
        ("python:{file}:Yours", InputError, "has no class 'Yours' \\(available controllers: Mine, Share\\)"),
        ("python:{file}:Share", InputError, "Share\\(\\) failed \\(TypeError: .*argument"),
        ("python:{file}:Share:much", InputError, "failed \\(ValueError"),
        ("python:{file}:Mute", InputError, "Mute has no method propose\\(history\\)"),
        ("python:{broken}:Mine", InputError, "cannot load .* \\(ZeroDivisionError"),
        ("python:{needy}:Mine", InputError, "needs no_such_library, which is not installed"),
    ],
)
def test_what_is_refused(make, file, spec, error, message):
    broken, needy = file.with_name("broken.py"), file.with_name("needy.py")
    broken.write_text("1 / 0\n")
    needy.write_text("import no_such_library\n")
    with pytest.raises(error, match=message):
        make(spec.format(file=file, broken=broken, needy=needy))
