"""What asks and measures: the clients of the three exercises."""
