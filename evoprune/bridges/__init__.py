"""Ways to other libraries. Each is imported only when called, and sees the public face only."""
