"""`mpt sweep`: trains and evaluates the tables of a paper, and the arena."""
