"""Writes prompts and compiled programs for use outside this library."""
