"""Selection: laws, settings, schedules, budgets, and simulation of laws without a network."""
