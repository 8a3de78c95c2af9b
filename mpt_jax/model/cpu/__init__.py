"""A way of attending, segment by segment, that is faster on one CPU."""
