"""Uploads in, PCM out: what a person sends becomes mono float32 at 16 kHz, or an error that says what to do."""
