"""The door: policies and robots that people already have become run folders."""
