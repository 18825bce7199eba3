"""Three hospitals and their pictures."""
