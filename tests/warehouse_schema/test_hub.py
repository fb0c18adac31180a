"""The hub is asked once, in quiet, and its silence is said in words."""

import logging
import socket

import pytest

from dmix.warehouse_schema import hub


@pytest.fixture(autouse=True)
def ask_anew(monkeypatch):
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    hub.hub_is_known.cache_clear()
    yield
    hub.hub_is_known.cache_clear()


def no_address(*_, **__):
    raise socket.gaierror(-2, "Name or service not known")


def test_without_a_network_only_files_of_this_machine_are_read(monkeypatch, tmp_path):
    monkeypatch.setattr(socket, "getaddrinfo", no_address)
    with hub.asking_hub("owner/name") as where:
        assert where == {"local_files_only": True}
        assert not logging.getLogger("huggingface_hub.utils._http").isEnabledFor(logging.WARNING)
    assert logging.getLogger("huggingface_hub.utils._http").isEnabledFor(logging.WARNING)
    with hub.asking_hub(str(tmp_path)) as where:
        assert where == {}
    assert hub.not_found("owner/name", OSError("long")) == (
        "there is no folder owner/name, and this machine cannot reach the Hugging Face hub"
    )


def test_with_a_network_the_hub_is_asked_and_its_answer_is_said(monkeypatch):
    asked = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda *place, **_: asked.append(place))
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example:8443")
    with hub.asking_hub("owner/name") as where:
        assert where == {}
    assert asked == [("mirror.example", 8443)]
    assert hub.not_found("owner/name", OSError("404 here\nmore")).endswith("'owner/name' (404 here)")


def test_a_proxy_finds_the_hub_itself(monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", no_address)
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    assert hub.hub_is_known()
