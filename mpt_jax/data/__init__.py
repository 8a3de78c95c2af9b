"""Turns text into batches: tasks, vocabularies, mixing, packing, metrics."""
