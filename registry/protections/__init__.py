"""Property protections: an operator's file of who may use which custom properties."""
