"""How much the doors for voice agents add to the plain socket for live speech."""
