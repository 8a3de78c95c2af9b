"""Ranks labels and generates text with the prompts of a bank."""
