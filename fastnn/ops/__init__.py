"""The ops: one description each, for both backends."""
