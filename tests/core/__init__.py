"""Tests of the IO-free core, one file per module or per pair of modules that only mean something together."""
