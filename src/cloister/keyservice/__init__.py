"""keyservice."""
