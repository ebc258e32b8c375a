"""Avatars: a video of a person becomes a folder that channels play and generation reads."""
