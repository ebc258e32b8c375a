"""The live stream: mixes idle and speech on one frame clock, encodes once and publishes without end."""
