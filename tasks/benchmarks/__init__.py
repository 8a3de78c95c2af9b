"""Declares the datasets of the paper, read from TensorFlow Datasets."""
