"""Asynchronous store drivers and the vocabulary that everybody shares: the lowest package."""
