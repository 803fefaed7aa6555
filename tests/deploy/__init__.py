"""The files in deploy/ fit the command line and each other."""
