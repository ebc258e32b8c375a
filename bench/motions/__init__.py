"""Switches between idle and motions, looked at frame by frame."""
