"""Reads public labelled texts that packages of PyPI and Debian contain."""
