"""How long a warm-up would take, and what it would cost, before it is begun."""
