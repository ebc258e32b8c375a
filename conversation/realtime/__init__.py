"""A model that hears and speaks by itself, over the interface of OpenAI's Realtime: it replaces three parts."""
