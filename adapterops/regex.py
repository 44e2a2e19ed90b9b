"""Regular expressions that are compiled when they are first used: a command uses few of those that there are, and to compile all takes
longer than to read a header.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import TypeAlias

Found: TypeAlias = Callable[..., "re.Match[str] | None"]


class Regex:
    r"""A regular expression, for the beginning of a module; its methods are those of `re.Pattern`.

    >>> NUMBER = Regex(r"\d+")
    >>> NUMBER.fullmatch("12") is not None, NUMBER.sub("n", "a1b22"), NUMBER.pattern
    (True, 'anbn', '\\d+')
    """

    def __init__(self, pattern: str, flags: int = 0) -> None:
        self.pattern, self._flags = pattern, flags

    @cached_property
    def compiled(self) -> re.Pattern[str]:
        """For the functions of `re`."""
        return re.compile(self.pattern, self._flags)

    @cached_property
    def match(self) -> Found:
        return self.compiled.match

    @cached_property
    def fullmatch(self) -> Found:
        return self.compiled.fullmatch

    @cached_property
    def search(self) -> Found:
        return self.compiled.search

    @cached_property
    def findall(self) -> Callable[..., list[str]]:
        return self.compiled.findall

    @cached_property
    def finditer(self) -> Callable[..., Iterator[re.Match[str]]]:
        return self.compiled.finditer

    @cached_property
    def split(self) -> Callable[..., list[str]]:
        return self.compiled.split

    @cached_property
    def sub(self) -> Callable[..., str]:
        return self.compiled.sub
