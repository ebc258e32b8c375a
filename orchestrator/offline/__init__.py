"""A speech as a file, without a channel."""
