"""Each door as its own clients use it: the same sounds in, and what each client is told of them."""
