"""Names and bytes: reading what may be hostile, writing what must be whole. No arithmetic."""
