"""The laws of the architecture (L6)."""
