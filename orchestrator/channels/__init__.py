"""Channels: each takes its tasks one after another, and keeps its stream process running."""
