"""Pretraining from packed shards, without TensorFlow and seqio."""
