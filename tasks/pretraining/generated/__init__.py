"""Makes tasks from dictionaries and running text, with their answers."""
