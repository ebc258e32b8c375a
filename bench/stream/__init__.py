"""A channel measured as its viewers see it: numbered frames through a real RTMP server and back, with faults."""
