"""From speech to faces: decoding, features, chunks, the order of requests, and the rule for when a speech may start."""
