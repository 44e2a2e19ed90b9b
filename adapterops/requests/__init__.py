"""What is asked for, as one value: read from a command line, a recipe or a manifest, planned, and done."""
