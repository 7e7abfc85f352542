"""Readers of policies in other people's formats: each gives a network of ours, or says why not."""
