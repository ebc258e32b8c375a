"""From speech to faces: decoding, features, chunks, the order of requests by urgency, and when a speech may start."""
