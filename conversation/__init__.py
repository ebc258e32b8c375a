"""Conversation: what turns text into sound, behind small interfaces. Of speech it knows only "say this"."""
