"""Laws that every method, scheme, format, kind of update and engine obeys, for the tests of packages that add one.

    >>> check_method("linear", seeds=range(2))

A law takes a seed, from which everything random follows; a failure names it. They need neither pytest nor hypothesis.

Raises:
    AssertionError: a law does not hold, with its name, the member and the seed.
"""

from adapterops.testing.engines import check_engine as check_engine
from adapterops.testing.formats import check_format as check_format
from adapterops.testing.methods import METHOD_LAWS as METHOD_LAWS
from adapterops.testing.methods import Law as Law
from adapterops.testing.methods import check_method as check_method
from adapterops.testing.methods import check_unbiased as check_unbiased
from adapterops.testing.schemes import check_decoding as check_decoding
from adapterops.testing.schemes import check_grid as check_grid
from adapterops.testing.schemes import check_scheme as check_scheme
from adapterops.testing.updates import check_change as check_change
from adapterops.testing.updates import check_update as check_update
