"""The clean room: two owners who distrust each other train one model, on terms that both signed."""
