"""Launchers: gin files become settings, whichever program runs."""
