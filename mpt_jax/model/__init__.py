"""The T5 with prompts in its token stream, its losses and its sharding."""
