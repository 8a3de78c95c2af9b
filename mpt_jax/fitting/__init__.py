"""`mpt fit`: from rows to a trained prompt, its scores and a report."""
