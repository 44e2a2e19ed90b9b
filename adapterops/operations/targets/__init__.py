"""What an adapter does to each tensor of a base, settled from headers before any number is read."""
