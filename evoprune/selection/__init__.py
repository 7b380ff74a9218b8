"""Laws, the settings of selection, schedules, budgets, and laws by themselves."""
