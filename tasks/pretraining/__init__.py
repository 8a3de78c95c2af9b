"""Declares the tasks on which the default T5 was pretrained."""
