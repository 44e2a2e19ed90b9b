import pytest
from corpus import Refusal
from hypothesis import HealthCheck, settings

settings.register_profile("quick", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("quick")


@pytest.fixture
def refused(tmp_path, capsys):
    return Refusal(tmp_path, capsys)
