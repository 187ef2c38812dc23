"""Recommenders that one would pick instead, on the same stream and by the same rules as `perennial replay`."""
