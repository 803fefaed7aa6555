"""Both cores, fed the same: whatever comes in, the same must come out, to the bit."""
