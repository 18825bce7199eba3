"""Models in three parts: a secret front and back inside, an exposed middle outside."""
