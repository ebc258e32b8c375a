"""Voice activity: when someone speaks into the microphone who isn't the avatar."""
