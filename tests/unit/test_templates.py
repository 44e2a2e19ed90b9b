"""What a template prints: escaped, on one line, and nothing that it was not given."""

from __future__ import annotations

from pathlib import Path

import jinja2
import pytest

from adapterops.templates import template


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "some_package/templates").mkdir(parents=True)
    (tmp_path / "some_package/__init__.py").touch()
    (tmp_path / "some_package/templates/name.j2").write_text("<b>{{ name }}</b>{{ mark | safe }}\n")
    monkeypatch.syspath_prepend(tmp_path)
    return "some_package"


def test_names_are_escaped_and_what_cannot_be_printed_is_replaced(package: str) -> None:
    printed = template(package, "name.j2").render(name="<i>'\"&\x1b\n\udcff", mark="<br>")
    assert printed == "<b>&lt;i&gt;&#39;&#34;&amp;\ufffd\ufffd\ufffd</b><br>\n"
    assert template(package, "name.j2").render(name=3, mark="") == "<b>3</b>\n"


def test_a_name_that_is_missing_raises(package: str) -> None:
    with pytest.raises(jinja2.UndefinedError, match="mark"):
        template(package, "name.j2").render(name="a")
