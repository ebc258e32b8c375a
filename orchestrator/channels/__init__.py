"""Channels: each says its tasks one after another, and supervises its stream process."""
