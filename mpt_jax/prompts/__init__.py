"""The bank of prompts: how one is composed, started, saved and loaded."""
