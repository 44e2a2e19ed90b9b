"""What every command does first, once in its process: done before the processes of `commands` are forked."""

from __future__ import annotations

import safetensors  # noqa: F401  # whoever writes a file imports it

from adapterops.engine import local
from adapterops.formats.kinds import is_of_adapter
from adapterops.formats.registry import FORMATS
from adapterops.methods.registry import METHODS
from adapterops.quant.registry import SCHEMES
from adapterops.updates.kinds import KINDS

local.kernels(torch=False)
is_of_adapter("")
for registry in (FORMATS, METHODS, SCHEMES, KINDS):
    len(registry)
