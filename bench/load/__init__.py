"""Many clients at once against a live server: what they are answered, and what it does to the stream."""
