"""What commands print: tasks, results, what a prompt file holds, damage."""
