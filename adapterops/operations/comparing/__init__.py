"""How adapters look, and how they relate."""
