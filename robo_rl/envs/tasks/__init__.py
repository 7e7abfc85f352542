"""The environments of the suite, each registered under its name."""
