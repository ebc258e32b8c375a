"""Speech with known phone timings, and the face curves that go with it."""
