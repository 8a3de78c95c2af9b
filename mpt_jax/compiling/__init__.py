"""Compiles what a run would compute, for devices that need not be here."""
