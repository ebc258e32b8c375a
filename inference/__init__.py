"""All that runs Triton or talks to it: launcher, supervisor, client, shared memory, retries, watchdog."""
