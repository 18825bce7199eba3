"""What a cut gives away: attacks that are run on it, measures, bounds, and a verdict."""
