"""What a user chose, whether by options of a command or by arguments of a function, and what happens to it."""
