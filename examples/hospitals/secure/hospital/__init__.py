"""Three hospitals and one table."""
