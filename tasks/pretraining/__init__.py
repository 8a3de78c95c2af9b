"""Two recipes of pretraining: seqio tasks, and packed shards (`packed`)."""
