"""Files for the workload's interpreter: they import nothing but Python's own."""
