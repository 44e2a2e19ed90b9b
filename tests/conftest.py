import gc
import os

import pytest
import torch
from commands import written
from corpus import Refusal
from hypothesis import HealthCheck, settings

gc.set_threshold(100_000)  # what is imported and collected here is no garbage, and is looked through less often
settings.register_profile("quick", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("quick")
torch.set_num_threads(1)  # models here are tiny, and workers of pytest share the processors
os.environ.setdefault("OMP_NUM_THREADS", "1")  # the same for the commands and examples that tests start
os.fsync = written


def pytest_configure(config: pytest.Config) -> None:
    """Only `pytest -m gpu` sees a GPU:
    transformers and PEFT put models there where they find one, and the rest compares on the CPU.
    """
    if config.option.markexpr != "gpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


@pytest.fixture
def refused(tmp_path, capsys):
    return Refusal(tmp_path, capsys)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A Hub of our own, which the client asks, with an empty cache, no token, in LFS mode; waiting takes no time."""
    from hub_server import running
    from huggingface_hub import constants

    with running() as server:
        cache = tmp_path / "cache"
        settings_ = {
            "ENDPOINT": server.url,
            "HUGGINGFACE_CO_URL_TEMPLATE": server.url + "/{repo_id}/resolve/{revision}/{filename}",
            "HF_HUB_CACHE": str(cache),
            "HF_HUB_DISABLE_XET": True,
            "HF_HUB_OFFLINE": False,
            "HF_TOKEN_PATH": str(tmp_path / "token"),
        }
        for name, value in settings_.items():
            assert hasattr(constants, name)
            monkeypatch.setattr(constants, name, value)
        for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_DOWNLOAD_TIMEOUT"):
            monkeypatch.delenv(name, raising=False)
        server.waits = []
        monkeypatch.setattr("time.sleep", server.waits.append)
        server.cache = cache
        yield server
