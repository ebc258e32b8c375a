"""What the server tells of itself: logs, metrics, traces and notices."""
