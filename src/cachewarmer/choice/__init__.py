"""The choices of a user, made by options of a command or by arguments of a function, and what they are turned into."""
