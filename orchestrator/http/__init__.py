"""The HTTP side: requests in, JSON, events and pictures out."""
