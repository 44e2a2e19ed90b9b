"""How work runs: plans, and where their jobs are done."""
