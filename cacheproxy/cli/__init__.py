"""The command line: what it accepts, how it asks the daemon, and how it shows the answers.

`cacheproxy --help` imports little: what a command needs is imported once it is known which it is.
"""
