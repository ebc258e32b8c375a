"""A channel's conversation in the shapes of OpenAI's Realtime: sound up, sound down, and the face by WHEP."""
