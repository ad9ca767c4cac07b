"""The command line: what can be typed, and who does it."""
