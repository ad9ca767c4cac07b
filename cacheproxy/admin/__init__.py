"""What the command line and the daemon say to each other, and where they meet.

Light on purpose: both sides import this.
"""
