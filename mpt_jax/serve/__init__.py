"""`mpt serve`: many tasks on one T5, over HTTP."""
