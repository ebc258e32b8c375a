"""Wyoming, the protocol of Home Assistant's voice services: a channel as its speech synthesis, and as its speaker."""
