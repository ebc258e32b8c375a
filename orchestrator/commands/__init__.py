"""The commands of `latentsync-realtime`, one file each; what a command needs is imported when it runs."""
