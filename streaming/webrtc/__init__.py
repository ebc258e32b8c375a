"""WebRTC out: a process beside the channel's that sends its packets to viewers (WHEP) and to servers (WHIP).

Nothing is encoded here. `handle.py` is the parent's side, and imports nothing of the WebRTC stack.
"""
