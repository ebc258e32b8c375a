"""Doors in the shapes that voice agents and their clients know, each on top of the live speech of a channel."""
