"""Avatars: a video of a person in, the folder that channels play and generation reads out."""
