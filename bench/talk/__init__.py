"""How a conversation with a channel is: how soon it answers and falls silent, and whether a turn is lost."""
