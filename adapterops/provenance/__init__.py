"""Where things come from: inputs, operations, and the manifest of an output."""
