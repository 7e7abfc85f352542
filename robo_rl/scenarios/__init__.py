"""Scenarios: a falsifiable claim, what varies, what is injected, what must hold.

Data, and how it is read.
"""
