"""Turns rows of text into batches: tasks, mixing, packing, metrics."""
