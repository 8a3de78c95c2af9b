"""Banks of prompts: how they are composed, initialised, saved and loaded."""
