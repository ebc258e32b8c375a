"""Recognition: from the sound of an utterance to its words."""
