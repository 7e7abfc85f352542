"""Making, checking and printing environments."""
