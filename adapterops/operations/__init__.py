"""Pure functions from adapters to adapters, and what can be said about one."""
