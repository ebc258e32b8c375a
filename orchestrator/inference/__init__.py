"""The way from speech to faces: Whisper windows and chunks of frames, run by Triton, back in order."""
