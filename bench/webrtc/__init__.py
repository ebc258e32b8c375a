"""`bench webrtc`: what a viewer in a real browser sees of a channel over WebRTC, and what viewers cost."""
