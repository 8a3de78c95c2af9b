"""Files, folders, caches and errors; it knows nothing of the model."""
