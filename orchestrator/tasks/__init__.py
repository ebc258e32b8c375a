"""Tasks: what was asked to be said, how far it is, and the store that remembers it over a restart."""
