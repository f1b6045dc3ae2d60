"""Looks at a target or at a broker, and says what is right, what is odd and what is wrong. It changes nothing."""
