"""This process: its signals, its terminal, and a quiet TensorFlow."""
