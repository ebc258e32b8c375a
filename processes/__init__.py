"""Child processes: how they end with their parent, what they may use, and what Linux tells of them."""
