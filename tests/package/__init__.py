"""What is built, when, and which core an installation then runs.

The folder is not called `packaging`, because it would hide the library of that name from all tests.
"""
