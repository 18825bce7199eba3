"""What frameworks need to train together as they are: changes made when they are imported."""
