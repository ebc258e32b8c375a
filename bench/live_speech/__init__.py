"""Speech that is said while it arrives: what its look-ahead, chunks and windows cost the lips."""
