"""Tasks: accepted requests for a speech, their progress, and the store that keeps them across restarts."""
