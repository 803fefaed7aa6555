"""`python -m tests.store`: kill peers under load, and count what is lost."""

from .kills import main

main()
