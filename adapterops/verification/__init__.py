"""Whether an output holds what it should."""
