"""Everything that can go wrong on the way to a real robot, as data; profiles; gap studies.

The checklist.
"""
