"""Text from templates, which are files of the package. jinja2 is imported when the first one is asked for."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from adapterops.errors import printable

if TYPE_CHECKING:
    from jinja2 import Template


@cache
def template(package: str, name: str) -> Template:
    """The template `name` in the folder `templates` of a package.

    What it prints is escaped for HTML, which Markdown understands too, and what cannot be printed, lone surrogates
    among it, becomes U+FFFD: a name from a stranger's file adds neither markup nor lines. Only what the template
    itself marks `| safe` passes as it is. A name that `render` was not given raises.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader(package),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: value if hasattr(value, "__html__") else printable(str(value)),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(name)
