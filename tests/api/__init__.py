"""The face that applications see."""
