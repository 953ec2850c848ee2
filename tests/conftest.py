"""One thread, no network, no home folder: the same on every machine."""

import importlib.util
import os
import socket
from pathlib import Path

# Before torch and the Hugging Face libraries are imported, and for the processes that tests start.
os.environ.update(OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", MPLBACKEND="Agg", COLUMNS="80")
for name in ("CI", "NO_COLOR", "FORCE_COLOR", "EXGRA_COMMAND"):
    os.environ.pop(name, None)

import pytest  # noqa: E402
import torch  # noqa: E402

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def no_network(request, monkeypatch):
    """A test that calls out fails, unless it is marked for the network."""
    if request.node.get_closest_marker("network"):
        return
    connect = socket.socket.connect

    def local(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise AssertionError(f"a test tried to reach {address}")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", local)


@pytest.fixture(scope="session")
def checker():
    """`docs/check_site.py`, which looks at pages in a real browser."""
    path = Path(__file__).resolve().parents[1] / "docs" / "check_site.py"
    spec = importlib.util.spec_from_file_location("check_site", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
