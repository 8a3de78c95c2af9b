"""The command `mpt`: parses arguments and calls the rooms below."""
