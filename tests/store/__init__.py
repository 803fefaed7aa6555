"""The durable store: what is written, what is found again, and what is made of damage."""
