"""Reads what runs have written, one file for each kind of folder."""
