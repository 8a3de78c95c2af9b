"""`mpt sweep`: trains, evaluates and prints the tables of a paper."""
