"""The stored policy, and the contract it was trained under."""
