"""Makes one HTML page of the files that runs have written."""
