"""Block formats: how a weight lies in few bits, and back."""
