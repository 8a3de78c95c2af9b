"""The plan for one CPU, which attends example by example."""
