"""Turns text into token ids and back: vocabularies and tokenizers of others."""
