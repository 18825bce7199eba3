"""The door: one file per command. Parses, calls, prints; decides nothing."""
