import gc
import logging
import os
import signal
from collections import Counter
from pathlib import Path

import pytest
import torch
from commands import written
from corpus import Refusal
from hypothesis import HealthCheck, settings
from threadpoolctl import threadpool_limits
from turns import ALL

from adapterops.engine import local

gc.set_threshold(100_000)  # what is imported and collected here is no garbage, and is looked through less often
settings.register_profile(
    "quick",
    max_examples=300 if ALL else 30,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("quick")
torch.set_num_threads(1)  # matrices here are tiny, and workers of pytest share the processors
threadpool_limits(1)  # of numpy, too: two threads for one small matrix wait for each other
os.environ.setdefault("OMP_NUM_THREADS", "1")  # the same for the commands and examples that tests start
local.QUICK = local.FIRST = 0.0  # what is quick is divided among threads here, too
os.fsync = written
logging.raiseExceptions = False  # a handler of some library keeps the stderr of the test that it was first used in
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # `nohup make test` has it ignored by every process


collect_ignore = ["fuzz"]  # programs, and no tests

LONGEST = (
    "cli/test_readme.py",
    "fault/test_ray.py",
    "fault/test_diagnosis.py",
    "interop/test_through_the_wire.py",
    "interop/test_experts.py",
    "fault/test_hub_faults.py",
    "interop/test_merges_people_have.py",
    "interop/test_architectures.py",
    "package/test_automation.py",
    "fault/test_other_outputs.py",
    "fault/test_every_output.py",
    "interop/test_fusing.py",
    "interop/test_calibrating.py",
    "interop/test_hub.py",
    "interop/test_gguf_models.py",
    "interop/test_vocabularies.py",
    "interop/test_quantizing.py",
    "package/test_wheel.py",
    "fault/test_limits.py",
)
"""The files that take longest; between them those that mostly wait, for a cluster or a server, so that another one works."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, and then those of many tests: workers that get whole files end at about the same time."""
    place = {Path(__file__).parent / name: index for index, name in enumerate(LONGEST)}
    assert all(path.exists() for path in place), "a file was renamed"
    tests = Counter(item.path for item in items)
    items.sort(key=lambda item: (place.get(item.path, len(place)), -tests[item.path]))


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
        settings_ = {**server.settings(cache), "HF_TOKEN_PATH": str(tmp_path / "token")}
        for name, value in settings_.items():
            assert hasattr(constants, name)
            monkeypatch.setattr(constants, name, value)
        for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_DOWNLOAD_TIMEOUT"):
            monkeypatch.delenv(name, raising=False)
        server.waits = []
        monkeypatch.setattr("time.sleep", server.waits.append)
        server.cache = cache
        yield server
