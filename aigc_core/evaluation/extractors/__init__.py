"""What looks at pictures, so that metrics can compare what it sees."""
