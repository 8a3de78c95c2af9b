"""`mpt quickstart`: all three stages on public data, with a report."""
