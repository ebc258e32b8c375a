"""How an API key looks."""

KEY_PREFIX = "lsr_"
