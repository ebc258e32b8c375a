"""Text becomes sound: one interface, and what implements it."""
