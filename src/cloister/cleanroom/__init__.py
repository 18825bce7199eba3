"""Clean rooms: two owners who distrust each other train and query one model."""
