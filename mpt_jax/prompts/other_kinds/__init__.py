"""Kinds of prompt from later papers, from their formulas; one file each."""
