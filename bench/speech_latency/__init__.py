"""How long speech takes to its first sound and, while it is spoken, to its frames; measured by a viewer's ears."""
