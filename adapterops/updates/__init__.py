"""What an adapter does to one weight."""
