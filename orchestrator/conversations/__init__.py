"""Conversations with channels: one each, held by a session that takes sound and text and tells what happens."""
