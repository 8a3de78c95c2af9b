"""Reads the frozen T5 and its vocabulary from the formats that others write."""
