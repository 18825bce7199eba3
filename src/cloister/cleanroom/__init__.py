"""The two-sided service: a recipe that nobody shows meets records that nobody shows."""
