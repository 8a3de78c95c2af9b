"""The engine: ranks candidates and generates, with prompts and a frozen T5."""
