"""What can go wrong on the way to a real robot, as data; profiles, gap study, checklist."""
