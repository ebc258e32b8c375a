"""Answers: what the avatar says next."""
