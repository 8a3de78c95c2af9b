"""Makes one self-contained HTML page of the files that runs have written."""
