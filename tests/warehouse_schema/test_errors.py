import pickle

import pytest

from dmix.warehouse_schema import errors


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("DmixError", 1),
        ("InputError", 2),
        ("NotFoundError", 2),
        ("LockHeldError", 3),
        ("VerificationError", 4),
        ("CatalogError", 1),
        ("MissingDependencyError", 1),
        ("StorageError", 1),
        ("ClusterError", 1),
    ],
)
def test_errors_keep_message_and_exit_code_through_pickling(name, code):
    error = pickle.loads(pickle.dumps(getattr(errors, name)("got a, wanted b")))
    assert type(error).__name__ == name
    assert (error.message, str(error), error.exit_code) == ("got a, wanted b", "got a, wanted b", code)


def test_what_users_get_wrong_is_a_value_error():
    assert issubclass(errors.NotFoundError, ValueError)
