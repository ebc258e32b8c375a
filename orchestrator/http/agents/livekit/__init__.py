"""A channel as the avatar of a LiveKit room: takes an agent's speech there, and publishes the stream."""
