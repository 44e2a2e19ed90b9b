"""Arrays: their dtypes, conversions and scratch memory."""
