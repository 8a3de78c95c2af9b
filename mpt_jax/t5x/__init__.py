"""Runs the same experiments under t5x; nothing else here imports t5x."""
