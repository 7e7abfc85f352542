"""Playing a policy, measuring its episodes, bounding the numbers."""
