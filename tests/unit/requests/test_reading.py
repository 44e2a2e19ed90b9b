"""How sizes are read."""

from __future__ import annotations

import pytest

from adapterops.errors import OptionError
from adapterops.requests.reading import size


@pytest.mark.parametrize(
    ("text", "bytes_"),
    [("2GB", 2 * 10**9), ("1.5 MB", 1_500_000), (" 1kB ", 1000), ("20KB", 20_000), ("2GiB", 2**31), ("1tb", 10**12)],
)
def test_sizes(text: str, bytes_: int) -> None:
    assert size(text) == bytes_


@pytest.mark.parametrize("text", ["", "2", "GB", "-1GB", "0GB", "1TBB", "1e3MB"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(OptionError, match="500MB"):
        size(text)
