"""What `verify` and `check` found, as SARIF 2.1.0: what code scanning shows next to a file.

Source: OASIS, Static Analysis Results Interchange Format 2.1.0.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from adapterops.errors import AdapterOpsError
from adapterops.operations.output_files import Problem
from adapterops.storage.documents import check_documents, write_documents
from adapterops.storage.strict import json_text
from adapterops.version import __version__

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
HOME = "https://github.com/adapterops/adapterops"
VERIFIED = {
    "id": "not-base-plus-adapter",
    "shortDescription": {"text": "A model that is not its base plus its adapters"},
    "fullDescription": {
        "text": "A tensor or a file of the model is not what base, adapters and manifest say that it should be."
    },
    "help": {"text": "Fuse again, or name the base and the adapters that it was made of: adapterops verify --help"},
    "defaultConfiguration": {"level": "error"},
}
CHECKED = {
    "id": "not-applied-as-trained",
    "shortDescription": {"text": "An adapter that a program does not apply as it was trained"},
    "fullDescription": {
        "text": "The program refuses the adapter, or applies another update than the one that was trained."
    },
    "help": {"text": "How to fix it: adapterops check ADAPTER --for PROGRAM"},
    "defaultConfiguration": {"level": "error"},
}


def sarif(model: Path, problems: Sequence[Problem], rule: Mapping[str, Any] = VERIFIED) -> dict[str, Any]:
    """The log of one run on one model or adapter: a result for each problem, in their order; all are against one rule.

    The place is the file where a problem names one of the model's, else the model; a tensor is a logical location.
    Paths are relative to the current folder where they are under it, as code scanning wants them.
    """
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "adapterops",
                        "version": __version__,
                        "informationUri": HOME,
                        "rules": [rule],
                    }
                },
                "results": [_result(model, problem, rule) for problem in problems],
            }
        ],
    }


def check_sarif(out: Path) -> None:
    """Raise what `write_sarif` would, before any work: only another log is replaced.

    Raises:
        OutputExistsError, NotFoundError, InputError, ResourceError: as `check_documents` does.
    """
    try:
        check_documents({out: SCHEMA.encode()}, [], force=True)
    except AdapterOpsError as error:
        error.hint = "name another file with --sarif"
        raise


def write_sarif(out: Path, model: Path, problems: Sequence[Problem], rule: Mapping[str, Any] = VERIFIED) -> None:
    """Write the log, whole or not at all."""
    write_documents({out: json_text(sarif(model, problems, rule), indent=1) + b"\n"}, force=True)


def _result(model: Path, problem: Problem, rule: Mapping[str, Any]) -> dict[str, Any]:
    file = model / problem.place if model.is_dir() else model
    place = file if file.exists() else model
    location: dict[str, Any] = {
        "physicalLocation": {"artifactLocation": {"uri": _uri(place)}, "region": {"startLine": 1}}
    }
    if place is model:
        location["logicalLocations"] = [{"fullyQualifiedName": problem.place, "kind": "member"}]
    return {
        "ruleId": rule["id"],
        "ruleIndex": 0,
        "level": "error",
        "message": {"text": f"{problem.place}: {problem.what}"},
        "locations": [location],
        "partialFingerprints": {"place/v1": problem.place},
    }


def _uri(path: Path) -> str:
    """A relative reference under the current folder, else a file URI; quoted either way.

    >>> _uri(Path("models/a b"))
    'models/a%20b'
    """
    whole = Path(os.path.abspath(path))
    here = Path.cwd()
    if not whole.is_relative_to(here):
        return whole.as_uri()
    return whole.as_uri().removeprefix(here.as_uri()).removeprefix("/") or "."
