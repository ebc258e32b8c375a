"""Whose turn it is: a state machine without clock or I/O, from what happened to what is to be done."""
