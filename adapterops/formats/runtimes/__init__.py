"""What programs that serve or load adapters do with what an adapter may have."""
