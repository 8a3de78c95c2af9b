"""Tasks over rows in memory, without TensorFlow and seqio."""
