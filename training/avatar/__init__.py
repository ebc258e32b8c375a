"""The demo avatar: a synthetic presenter rendered from MakeHuman's CC0 head."""
