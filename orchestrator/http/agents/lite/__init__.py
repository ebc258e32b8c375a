"""Sessions in the shapes of LiveAvatar's mode LITE (HeyGen's): token, start, stop, and a WebSocket for the speech."""
