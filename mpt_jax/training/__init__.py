"""Trains an experiment: settings, loop, step, optimizers, checkpoints."""
