"""volume/fuse."""
